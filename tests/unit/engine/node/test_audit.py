"""The audit stream: durable before it is answered, and no stranger can fill it."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.journal.commit import NotCommitted
from engine.model.times import MINUTE
from engine.node.audit import REFUSALS_A_MINUTE, TEXT_CHARS_MAX
from engine.node.recovered import pending_acts
from engine.recovery.acts import record_act
from engine.store.base import Store
from engine.store.faults import FaultyStore, after, before
from tests.nodes import InProcessNode, acts, in_process_node

from .conftest import TurnedClock


def test_acts_are_there_once_they_are_answered(node: InProcessNode) -> None:
    node.parts.audit.act("restore", "me", {"path": "/srv/naïve", "files": 3})
    assert acts(node.home) == [{"what": "restore", "who": "me", "details": {"path": "/srv/naïve", "files": 3}}]


def test_names_that_are_no_text_are_told_with_escapes(node: InProcessNode) -> None:
    """DuckDB takes a record with half a surrogate pair for no JSON: a query of the audit would end there, and a report
    would leave it out."""
    details = {"path": "/srv/na\udcffme", "others": ["\ud800", {"\udc80": "😀 \\udcff"}], "files": 3}
    node.parts.audit.act("restore", "m\udce9", details)
    [told] = acts(node.home)
    assert told["details"] == {"path": "/srv/na\\xffme", "others": ["\\ud800", {"\\x80": "😀 \\udcff"}], "files": 3}
    assert told["who"] == "m\\xe9"


def test_acts_of_many_threads_are_all_there(node: InProcessNode) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: node.parts.audit.act("x", "me", {"number": number}), range(100)))
    assert sorted(act["details"]["number"] for act in acts(node.home)) == list(range(100))


def test_refusals_beyond_a_number_a_minute_are_only_counted(node: InProcessNode, clock: TurnedClock) -> None:
    audit = node.parts.audit
    recorded = [audit.refusal("batch-refused", "agent x", {}, "foreign") for _ in range(REFUSALS_A_MINUTE + 12)]
    assert recorded == [True] * REFUSALS_A_MINUTE + [False] * 12
    assert audit.refusal("batch-refused", "agent x", {}, "conflict")  # another kind has a count of its own
    assert len(acts(node.home)) == REFUSALS_A_MINUTE + 1
    audit.flush()
    assert len(acts(node.home)) == REFUSALS_A_MINUTE + 1  # the minute is not over
    clock.at += MINUTE
    audit.flush()
    audit.flush()
    assert acts(node.home)[REFUSALS_A_MINUTE + 1 :] == [
        {"what": "refused-more", "who": "node", "details": {"what": "batch-refused", "kind": "foreign", "count": 12}}
    ]
    assert audit.refusal("batch-refused", "agent x", {}, "foreign")


def test_the_count_of_the_last_minute_is_written_at_a_stop(tmp_path: Path, clock: TurnedClock) -> None:
    with in_process_node(tmp_path / "home", clock) as node:
        for _ in range(REFUSALS_A_MINUTE + 5):
            node.parts.audit.refusal("batch-refused", "agent x", {})
    assert acts(node.home)[-1]["details"]["count"] == 5


def test_what_a_stranger_sends_is_cut(node: InProcessNode) -> None:
    node.parts.audit.refusal("batch-refused", "agent " + "x" * 10_000, {"stream": "y" * 10_000, "bytes": 5})
    [act] = acts(node.home)
    assert len(act["who"]) == len(act["details"]["stream"]) == TEXT_CHARS_MAX
    assert act["details"]["bytes"] == 5


def test_acts_go_on_after_one_that_failed(tmp_path: Path) -> None:
    """Also when the one that was reported as failed turns out to be there."""
    faults: list[FaultyStore] = []

    def faulty(store: Store) -> Store:
        faults.append(FaultyStore(store))
        return faults[0]  # type: ignore[return-value]

    with in_process_node(tmp_path / "home", store=faulty) as node:
        node.parts.audit.act("first", "me", {})
        for fault in (before, after):
            faults[0].queue("put", fault(OSError(errno.EIO, "broken")))
            with pytest.raises(NotCommitted):
                node.parts.audit.act("failed", "me", {})
            node.parts.audit.act("next", "me", {})
        whats = [act["what"] for act in acts(node.home)]
    assert whats[0] == "first" and whats.count("next") == 2


def test_counts_that_can_not_be_written_are_kept(tmp_path: Path, clock: TurnedClock) -> None:
    faults: list[FaultyStore] = []

    def faulty(store: Store) -> Store:
        faults.append(FaultyStore(store))
        return faults[0]  # type: ignore[return-value]

    with in_process_node(tmp_path / "home", clock, faulty) as node:
        for _ in range(REFUSALS_A_MINUTE + 5):
            node.parts.audit.refusal("batch-refused", "agent x", {})
        clock.at += MINUTE
        faults[0].at_call(1, before(OSError(errno.ENOSPC, "full")), lasting=True)
        with pytest.raises(NotCommitted):
            node.parts.audit.flush()
        faults[0].heal()
        node.parts.audit.flush()
        assert acts(node.home)[-1]["details"]["count"] == 5


def test_acts_that_waited_keep_their_times_and_none_is_lost_on_the_way(node: InProcessNode, clock: TurnedClock) -> None:
    record_act(node.home, "restore", "ann", {"files": 1}, clock)
    done_at, taken = clock.now(), threading.Event()
    clock.at += MINUTE
    real, seen = node.parts.audit.act, []

    def act(what: str, who: str, details: Mapping[str, Any], at: int | None = None) -> Any:
        seen.append((details, at))
        late.start()
        taken.wait(0.2)  # the late one must not get into the list that is being taken over
        return real(what, who, details, at)

    def add() -> None:
        record_act(node.home, "restore", "bob", {"files": 2}, clock)
        taken.set()

    late = threading.Thread(target=add)
    audit: Any = SimpleNamespace(act=act)
    pending_acts(node.home, audit, clock.now())
    late.join()
    assert seen == [({"files": 1}, done_at)]
    waiting = (node.home / "audit" / "pending.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line)["who"] for line in waiting] == ["bob"]
