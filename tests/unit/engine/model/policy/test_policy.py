"""Faults, documents and tiers as text and JSON."""

from __future__ import annotations

import json

from engine.model.ids import Address
from engine.model.policy.documents import Document, Fault
from engine.model.policy.group import Consistency, Hooks
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.retention import Tier, tiers_as_json
from engine.model.times import DAY, HOUR, MINUTE, SECOND


def test_a_fault_reads_like_a_compilers() -> None:
    fault = Fault("groups.yaml", 3, 7, "spec.objectives.rpo", "'x' is not a duration", "for example 5s")
    assert str(fault) == "groups.yaml:3:7: spec.objectives.rpo: 'x' is not a duration"
    assert str(Fault("groups.yaml", 0, 0, "", "cannot be read")) == "groups.yaml: cannot be read"
    assert sorted([Fault("b", 1, 1, "", ""), fault, Fault("b", 1, 0, "", "")])[0].file == "b"


def test_a_document_is_named_by_kind_and_name() -> None:
    assert Document("Site", "sf", {}).key == "Site/sf"


def test_tiers_in_their_written_form() -> None:
    assert tiers_as_json((Tier(0, 2 * DAY), Tier(HOUR, 365 * DAY))) == [
        {"keep": "every-change", "for": "2d"},
        {"keep": "1h", "for": "1y"},
    ]


def test_what_an_apply_records_is_json() -> None:
    spec = SourceSpec(
        Address("a", "localhost", "files"),
        "0123456789abcdef",
        "files",
        "local",
        ("/srv",),
        5 * SECOND,
        2 * MINUTE,
        Consistency(hooks=Hooks("before", "after")),
        (Tier(0, DAY),),
    )
    recorded = PolicySet(documents=(Document("Site", "sf", {"kind": "Site"}),), sources=(spec,)).as_json()
    assert json.loads(json.dumps(recorded)) == recorded
    assert recorded["sources"]["a/localhost/files"] == {
        "stream": "0123456789abcdef",
        "address": "a/localhost/files",
        "kind": "files",
        "site": "local",
        "paths": ["/srv"],
        "exclude": [],
        "ignore": [],
        "labels": {},
        "settings": {},
        "rpo": "5s",
        "rto": "2m",
        "crashPointEvery": "1h",
        "freeze": "never",
        "hooks": {"before": "before", "after": "after", "timeout": "1m"},
        "retention": [{"keep": "every-change", "for": "1d"}],
    }
