"""How many points a shorter retention takes, counted over a journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.env.clock import Clock
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import Address, stream_id
from engine.model.policy.group import Consistency
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.retention import Tier
from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.plan.actions import Action
from engine.plan.reconcile import Guard, Plan
from engine.reconcile.expiry import with_points_removed
from engine.wire.batch import NO_HASH, BatchBuilder, decode

ADDRESS = Address("docs", "localhost", "files")
START = 1_795_348_800_000_000
SPEC = SourceSpec(
    address=ADDRESS,
    stream_id=stream_id(ADDRESS),
    kind="files",
    site="local",
    paths=("/srv",),
    rpo=5 * SECOND,
    rto=None,
    consistency=Consistency(),
    retention=(Tier(HOUR, DAY),),
)


class SetClock(Clock):
    """Shows what it is set to."""

    at = START

    def now(self) -> int:
        return self.at


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose journal has a point each ten minutes, eighteen of them from a full hour on."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").write_text("5a" * 32 + "\n")
    journal = open_local(tmp_path / "journal", b"\x5a" * 32, create=True)
    clock = SetClock()
    with Committer(journal, "n1", clock=clock) as committer:
        committer.register(ADDRESS)
        epoch = committer.open_stream(SPEC.stream_id, "agent", None).head.epoch
        lsn, prev = 1, NO_HASH
        for number in range(18):
            clock.at = START + number * 10 * MINUTE
            builder = BatchBuilder(SPEC.stream_id, epoch, lsn, prev)
            builder.mark(clock.at, "pass" if number else "baseline", point_class="quiet")
            buffers, prev = builder.encode()
            committer.submit(decode(b"".join(buffers))).result(timeout=300)
            lsn = builder.lsn_next
    return tmp_path


def planned(spec: SourceSpec, *shortens: str) -> Plan:
    actions = (Action("update", "ProtectionGroup", "docs", "why"), Action("update", "Source", str(ADDRESS), "why"))
    return Plan(actions, 0, Guard((), shortens, bool(shortens)), {"local": 1}, PolicySet(sources=(spec,)))


def removed(plan: Plan) -> list[int | None]:
    return [action.points_removed for action in plan.actions]


def test_the_points_that_would_go_are_counted(home: Path) -> None:
    now = START + 3 * HOUR
    plan = with_points_removed(home, planned(SPEC, str(ADDRESS)), now)
    assert removed(plan) == [None, 15]  # one of each of three hours stays
    assert [action.as_json().get("points_removed", "-") for action in plan.actions] == ["-", 15]
    ends = replace(SPEC, retention=(Tier(0, HOUR),))
    assert removed(with_points_removed(home, planned(ends, str(ADDRESS)), now)) == [None, 12]


def test_nothing_is_counted_where_nothing_is_shortened(home: Path) -> None:
    plan = planned(SPEC)
    assert with_points_removed(home, plan, START) is plan


@pytest.mark.parametrize("key", [None, "no key\n"])
def test_a_journal_that_can_not_be_read_stops_no_plan(home: Path, key: str | None) -> None:
    (home / "keys" / "master.key").unlink()
    if key is not None:
        (home / "keys" / "master.key").write_text(key)
    plan = with_points_removed(home, planned(SPEC, str(ADDRESS)), START + 3 * HOUR)
    assert removed(plan) == [None, None]
