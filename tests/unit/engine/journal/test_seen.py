"""What of a journal somebody may know of who sees some groups alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.env.clock import SYSTEM
from engine.journal import control, epochs
from engine.journal.open import Journal, open_local, seen_by
from engine.journal.seen import Seen
from engine.model.errors import NothingThere
from engine.model.ids import Address, stream_id
from engine.plan.access import Sight
from engine.query.applied import applied
from engine.query.streams import find, info, streams

FINANCE, OTHER = Address("finance", "db1", "files"), Address("other", "db2", "files")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = open_local(tmp_path / "journal", b"\x07" * 32, create=True)
    for address in (FINANCE, OTHER):
        epochs.register(journal.store, address, SYSTEM)
    return journal


def apply(journal: Journal, named: dict[str, Address], **more: Any) -> None:
    base = len(control.numbers(journal.store, control.POLICIES))
    sources = {address: {"stream": stream_id(first), "rpo": "5s"} for address, first in named.items()}
    documents = {f"ProtectionGroup/{address.split('/')[0]}": {} for address in named} | {"Site/other": {}}
    value = {"applied_at": "2026-11-22T10:00:00Z", "by": "x", "sources": sources, "documents": documents, **more}
    control.follow(journal.store, control.POLICIES, base, value)


def test_streams_of_other_groups_are_not_there(journal: Journal) -> None:
    seen = seen_by(journal, Sight(("fin*",)))
    assert list(streams(seen)) == [FINANCE] and find(seen, str(FINANCE)).id == stream_id(FINANCE)
    for ask in (lambda: find(seen, str(OTHER)), lambda: info(seen, stream_id(OTHER))):
        with pytest.raises(NothingThere) as missing:
            ask()
        assert "other" not in (missing.value.hint + json.dumps(missing.value.details))


def test_who_sees_everything_is_not_limited(journal: Journal) -> None:
    assert seen_by(journal, Sight(("*", "x"))) is journal and seen_by(journal, Sight()) is journal
    assert list(streams(seen_by(journal, Sight(())))) == []


def test_a_stream_follows_its_group_when_that_is_renamed(journal: Journal) -> None:
    """Its old name opens it for nobody who may not see what it belongs to now."""
    apply(journal, {str(FINANCE): FINANCE, str(OTHER): OTHER})
    apply(journal, {"secret/db1/files": FINANCE, str(OTHER): OTHER})
    old, new = seen_by(journal, Sight(("finance",))), seen_by(journal, Sight(("secret",)))
    assert streams(old) == {}
    for address in ("finance/db1/files", "secret/db1/files"):
        with pytest.raises(NothingThere):
            find(old, address)
        assert find(new, address).id == stream_id(FINANCE)
    apply(journal, {str(OTHER): OTHER})  # it is protected no more, and still what it was last
    assert streams(seen_by(journal, Sight(("finance",)))) == {}
    assert len(streams(seen_by(journal, Sight(("secret",))))) == 1


def test_applied_policies_that_changed_nothing_of_what_is_seen_are_left_out(journal: Journal) -> None:
    apply(journal, {str(OTHER): OTHER}, commit="1")
    apply(journal, {str(FINANCE): FINANCE, str(OTHER): OTHER}, commit="2", agents=["other-host"])
    apply(journal, {str(FINANCE): FINANCE}, commit="3")
    apply(journal, {}, commit="4")
    found = applied(seen_by(journal, Sight(("finance",))), 20)
    assert [one["commit"] for one in found] == ["2", "4"]
    assert found[0]["sources"] == [str(FINANCE)] and found[0]["documents"] == ["ProtectionGroup/finance"]
    assert found[1]["sources"] == [] and "other" not in json.dumps(found)
    assert [one["commit"] for one in applied(seen_by(journal, Sight(("finance",))), 1)] == ["4"]
    assert len(applied(journal, 20)) == 4


@pytest.mark.parametrize(
    ("details", "shown"),
    [
        ({"address": "finance/db1/files"}, True),
        ({"address": "finance/db1/files:/srv/x"}, True),
        ({"group": "finance"}, True),
        ({"stream": stream_id(FINANCE)}, True),
        ({"stream": stream_id(FINANCE), "address": "finance/db1/files"}, True),
        ({"stream": stream_id(OTHER), "address": "finance/db1/files"}, False),
        ({"address": "finance/db1/files", "group": "other"}, False),
        ({"stream": stream_id(OTHER)}, False),
        ({"stream": "0" * 16}, False),
        ({"address": "other/db2/files"}, False),
        ({"address": 7}, False),
        ({"address": ["finance/db1/files"]}, False),
        ({"sources": ["finance/db1/files"]}, False),
        ({}, False),
    ],
)
def test_records_that_are_about_what_is_seen(journal: Journal, details: dict[str, Any], shown: bool) -> None:
    seen = Seen(journal.store, Sight(("finance",)))
    assert seen.record(json.dumps({"what": "x", "who": "y", "details": details})) is shown


@pytest.mark.parametrize("payload", ["", "[]", "7", "{}", '{"details": []}', '{"details": null}', "nonsense"])
def test_records_of_no_known_form_are_not_shown(journal: Journal, payload: str) -> None:
    assert not Seen(journal.store, Sight(("finance",))).record(payload)
