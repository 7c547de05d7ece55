"""What people read, from fixed data: each view against its golden file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bcsctl.commands import check, diff, history, log, ls, plan, points, query, search
from bcsctl.entries import when
from bcsctl.output import fail, tell
from bcsctl.restoring import view as restore_view
from engine.journal.findings import Affected, CheckError, Report
from engine.model.errors import NothingThere, PolicyInvalid
from engine.model.events import Inode
from engine.model.ids import Address, Position
from engine.model.lineage import Beside
from engine.model.points import Gap, Point
from engine.model.policy.resolved import PolicySet
from engine.plan.actions import Action, Change
from engine.plan.reconcile import Guard, Plan
from engine.plan.restore import Made, RestorePlan
from engine.query.branches import Branch
from engine.query.diff import Change as Difference
from engine.query.search import Hit
from engine.query.streams import StreamInfo
from engine.query.timeline import Aside, Version
from engine.query.tree import Entry
from engine.recovery import told
from engine.recovery.restore import Restored
from engine.recovery.restoring import Outcome, Prepared
from engine.tree.apply import NO_SET_ID, Shortfall

Golden = Callable[[str], None]

NOON = 1_795_348_800_000_000
"""2026-11-22T12:00:00Z"""
SECOND = 1_000_000
POINT = Point(Position(1, 1234), NOON, NOON + 5000, "quiet")
BESIDE = Beside(Position(1, 1200), "recovery 5f3a9c01aa17")
NOBODY = 4_000_001
"""A user and group id that no machine has a name for."""


def test_points(golden: Golden) -> None:
    found = [
        Point(Position(1, 1200), NOON - 90 * SECOND, NOON, "application"),
        Point(Position(1, 1210), NOON - 60 * SECOND, NOON, "fuzzy", "before-upgrade"),
        Point(Position(2, 1300), NOON - 10 * SECOND, NOON, "crash"),
        Point(Position(2, 1301), NOON - SECOND, NOON, "quiet"),
    ]
    gaps = [
        Gap(NOON - 50 * SECOND, NOON - 10 * SECOND, "the agent was not running"),
        Gap(NOON - SECOND // 2, None, "the queue overflowed"),
    ]
    points.render(found, [(gap, None) for gap in gaps], 250, NOON)
    points.render([replace(found[1], beside=BESIDE), found[3]], [(gaps[0], BESIDE)], 2, NOON)
    last = Point(Position(1, 1290), NOON - 30 * SECOND, NOON, "quiet")
    branch = Branch(1, BESIDE, 1200, (found[1], last), (gaps[0],))
    tell(points.branch_line(branch, branch, listed=True))
    tell(points.branch_line(branch, replace(branch, points=(last,)), listed=False))
    golden("points")


def test_ls(golden: Golden) -> None:
    def entry(path: bytes, kind: str, mode: int, size: int = 0, target: bytes = b"") -> Entry:
        return Entry(path, Inode(1, NOON, 1, kind, mode, NOBODY, NOBODY, size, NOON * 1000, target=target))

    found = [
        entry(b"/srv/a plain file.txt", "f", 0o644, 1536),
        entry(b"/srv/caf\xe9", "f", 0o4755, 0),
        entry(b"/srv/\xe6\x97\xa5\xe6\x9c\xac", "d", 0o1777),
        entry(b"/srv/line\nfeed", "p", 0o600),
        entry(b"/srv/link", "l", 0o777, 9, b"../target"),
    ]
    ls.render(found, POINT, whole=False)
    golden("ls")


def test_plan(golden: Golden) -> None:
    fields = {"spec.objectives.rpo": Change("5s", "10s"), "spec.ignore": Change(None, [{"path": "/srv/cache"}])}
    actions = (
        Action("create", "Node", "local", "there is no node yet", {"version": Change(None, "0.1.0+abc")}),
        Action("start", "Agent", "localhost", "is not running"),
        Action("update", "ProtectionGroup", "finance", "differs from what apply 3 recorded", fields),
        Action("create", "Source", "finance/localhost/files", "starts to protect /srv/finance"),
        Action("remove", "Source", "old/localhost/files", "no longer among the policies"),
    )
    guard = Guard(("old/localhost/files",), ("finance/localhost/files",), True, "stops protecting 1 source of 2")
    plan.render(Plan(actions, 4, guard, {"local": 3}, PolicySet()))
    golden("plan")


def test_a_plan_that_shortens(golden: Golden) -> None:
    addresses = ("finance/localhost/files", "web/localhost/files")
    actions = tuple(
        Action("update", "Source", address, "its policy changed", {}, removed)
        for address, removed in zip(addresses, (1234, None), strict=True)
    )
    guard = Guard((), addresses, True, "shortens the retention of 2 sources")
    plan.render(Plan(actions, 1, guard, {"local": 3}, PolicySet()))
    golden("plan-shortens")


def test_a_plan_without_changes(golden: Golden) -> None:
    plan.render(Plan((), 7, Guard(), {"local": 3}, PolicySet()))
    golden("plan-noop")


def prepared() -> Prepared:
    inode = Inode(1, NOON, 1, "f", 0o644, 0, 0, 59_454_000, NOON * 1000)
    made = RestorePlan(b"/srv/back", (), tuple(Made(b"/srv/back/%d" % n, inode) for n in range(3)), ())
    stream = StreamInfo("0" * 16, Address("finance", "sf-db1", "files"), "finance", NOON, 1, {})
    return Prepared(stream, POINT, b"/srv/finance", made)


def told_of(made: Prepared) -> dict[str, Any]:
    return {**told.point_json(made.point), "plan": told.plan_json(made, made.plan.target)}


def test_restore(golden: Golden) -> None:
    restore_view.render_plan(told_of(prepared()), "finance/sf-db1/files", "/srv/back")
    short = ["/srv/back/a: owner: Operation not permitted", str(Shortfall(b"/srv/back/su", "mode", NO_SET_ID))]
    done = Restored(1234, 1300, 59_454_000, [], short)
    restore_view.render({**told_of(prepared()), **told.outcome_json(Outcome(done, 1.23, True))})
    golden("restore")


def test_restore_with_failures(golden: Golden) -> None:
    failures = [(b"/srv/back/%d.txt" % number, "pack packs/n1.1/1 is missing") for number in range(25)]
    done = Restored(1, 1, 10, failures, [])
    outcome = Outcome(done, 61.0, True, [(b"/srv/back/odd", "content at byte 0")])
    restore_view.render({**told_of(prepared()), **told.outcome_json(outcome)})
    golden("restore-failures")


def test_history(golden: Golden) -> None:
    one = {"number": 1, "applied_at": "2026-11-22T12:00:00.000000Z", "by": "ann@sf-1", "commit": "0123456789abcdef" * 2}
    history.render(
        [
            {**one, "dirty": False, "sources": ["a/b/c"]},
            {**one, "number": 12, "by": None, "commit": None, "dirty": True, "sources": []},
        ]
    )
    golden("history")


def test_query(golden: Golden) -> None:
    query.render(["kind", "count", "size"], [("dentry", 12, None), ("extent", 1234567, 2.5), (b"caf\xe9", 0, None)])
    golden("query")


def test_errors(golden: Golden) -> None:
    fail(NothingThere("there is no path /x\ny", hint="look at `bcsctl ls`"), False)
    rows = [
        {"file": "a.yaml", "line": 3, "column": 7, "path": "spec.rpo", "message": "'x' is no duration", "hint": "5s"},
        {"file": "b.yaml", "line": 0, "column": 0, "path": "", "message": "cannot be read", "hint": ""},
    ]
    fail(PolicyInvalid("2 errors in the policies", details={"errors": rows}), False)
    first = "2 errors in the policies; the first: a.yaml:3:7: spec.rpo: 'x' is no duration"
    error = PolicyInvalid(first, hint="`bcsctl validate` lists them all", details={"errors": rows})
    for shown in (None, 10, 1):  # validate, plan and apply; and one that is not all
        fail(error, False, faults_shown=shown)
    golden("errors")


def test_check(golden: Golden) -> None:
    lost = Affected("finance/sf-db1/files", "", NOON, NOON + SECOND)
    paths = tuple(Affected("finance/sf-db1/files", f"/srv/{number}", NOON, None) for number in range(22))
    errors = [
        CheckError("L0/n1.00000001/000000000002", "hole", "commit 2 is not there", (lost,)),
        CheckError("packs/n1.00000001/000000000001", "changed", "the frame at 64 can't be opened", paths),
    ]
    orphan = CheckError("packs/n1.00000001/000000000009", "orphan", "no commit names it")
    check.render(Report(errors, [orphan], 1234, 5 << 30), True)
    check.render(Report([], [], 1234, 5 << 30), False)
    golden("check")


def test_diff(golden: Golden) -> None:
    old = Inode(1, NOON, 1, "f", 0o644, 0, 0, 1000, NOON * 1000)
    new = Inode(9, NOON, 1, "f", 0o600, 1, 1, 3000, NOON * 1000 + 10**9)
    found = [
        Difference(b"/srv/added", "added", None, new),
        Difference(b"/srv/changed", "changed", old, new, True, True),
        Difference(b"/srv/gone", "removed", old, None),
        Difference(b"/srv/new\nname", "renamed", old, old, old_path=b"/srv/old name"),
        Difference(b"/srv/rewritten", "changed", old, old, True, False),
    ]
    above = replace(old, type="d", size=0)
    for name, kind, was in ((b"/tmp/gone", "removed", None), (b"/tmp/now", "renamed", b"/tmp/then")):
        for below in (b"", b"/deep", b"/deep/file", b"/file"):
            of = old if b"file" in below else above
            came = None if was is None else was + below
            found.append(Difference(name + below, kind, of, None if was is None else of, old_path=came))
    changed = replace(old, mode=0o600)
    found.append(Difference(b"/tmp/now/closed", "renamed", old, changed, old_path=b"/tmp/then/closed"))
    grown = replace(old, size=2000)
    found.append(Difference(b"/tmp/now/grown", "renamed", old, grown, True, old_path=b"/tmp/then/grown"))
    found.append(Difference(b"/tmp/now/from elsewhere", "renamed", old, old, old_path=b"/srv/elsewhere"))
    diff.render(found, when(Point(Position(1, 5), NOON - SECOND, NOON, "fuzzy")), when(POINT))
    diff.render(found[5:], "before", "after", whole=True)
    golden("diff")


def test_log(golden: Golden) -> None:
    path, other = b"/srv/q 3.ods", b"/srv/caf\xe9"
    owner = (NOON * 1000, NOBODY, NOBODY)
    found = [
        Version(NOON - 3 * SECOND, Position(1, 10), "created", 812, 0o644, 5, None, b"/srv/old", *owner),
        Version(NOON - 2 * SECOND, Position(1, 20), "renamed from", 1536, 0o644, 5, b"/srv/old", path, *owner),
        Version(NOON - 2 * SECOND, Position(1, 25), "changed", 1536, 0o644, 5, None, path, *owner, "alice (as root)"),
        Version(NOON - SECOND, Position(1, 30), "renamed to", None, None, None, other, path),
        Version(NOON, Position(1, 40), "removed", None, None, None, None, path),
    ]
    log.render(found[:2], 2, "finance/sf-db1/files")
    log.render(found, 7, "finance/sf-db1/files")
    branch = Branch(1, BESIDE, 10, (POINT,), ())
    log.render_aside(Aside(branch, tuple(found[1:3])), "finance/sf-db1/files", 1)
    log.render_aside(Aside(branch, (), "events 12 to 15 are missing"), "finance/sf-db1/files", None)
    golden("log")


def test_search(golden: Golden) -> None:
    address = Address("finance", "sf-db1", "files")
    times = (Position(1, 10), NOON - SECOND, Position(1, 1234), NOON)
    found = [
        Hit(address, "s", b"/srv/q3.ods", 5, "f", 0o644, 81_234, NOON * 1000, *times, gone=False),
        Hit(address, "s", b"/srv/caf\xe9", 6, "d", 0o755, 0, NOON * 1000, *times, gone=True),
    ]
    search.render(found, 2)
    search.render([found[0], replace(found[0], gone=True, beside=BESIDE), replace(found[0], beside=BESIDE)], 5)
    golden("search")
