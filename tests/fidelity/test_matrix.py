"""The fidelity matrix: every kind of change on every file system, captured live, restored, compared by another walker.

All rows of a file system are done at once, on one protected source; what each test judges is its own row.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from engine.model.events import DENTRY
from tests.fidelity.rig import Column, Moments, run
from tests.fidelity.rows import COLUMNS, TRACED, WEAKER, Row
from tests.fidelity.table import TABLE
from tests.fidelity.walker import DEEP, differences

if os.geteuid() != 0:
    pytest.skip("mounting file systems, devices and owners need root", allow_module_level=True)
if not shutil.which("setfacl"):
    pytest.skip("setfacl is not installed; see scripts/test-packages", allow_module_level=True)


AT_ONCE = 2


def whole(column: str) -> Column:
    return run(column, TABLE)


@pytest.fixture(scope="module")
def columns(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Column]]]:
    """Those that this run judges, two at a time. In processes of their own: some rows are another user meanwhile."""
    judged = {item.callspec.params.get("column") for item in request.session.items if hasattr(item, "callspec")}
    pool = ProcessPoolExecutor(AT_ONCE, get_context("spawn"))
    try:
        yield {column: pool.submit(whole, column) for column in COLUMNS if column in judged}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module", params=COLUMNS)
def column(request: pytest.FixtureRequest, columns: dict[str, Future[Column]]) -> Column:
    return columns.pop(request.param).result()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.slug)
def test_row(column: Column, row: Row) -> None:
    if row.large and column.name in WEAKER:
        return  # not run there, as the page says
    if column.name in row.impossible:
        assert row.slug in column.failed, f"possible after all, though {row.impossible[column.name]}"
        return
    assert row.slug not in column.failed, column.failed[row.slug]
    if column.name in row.late:
        assert differences(column.after.live[row.slug], column.held[row.slug]) == []
        return
    if column.name in row.unseen:
        assert _lost(column.after, row) != set(), "seen after all"
        return
    assert _lost(column.after, row) - set(row.either) == set(row.loses)
    if column.before.restored:
        assert _lost(column.before, row) == set(), "as of before the changes"


def _lost(moment: Moments, row: Row) -> set[str]:
    """The facts that did not come back. Asserts that there is something to compare."""
    assert moment.live[row.slug]
    found = differences(moment.live[row.slug], moment.restored[row.slug])
    for path, what, live, restored in found:
        print(f"{path!r}: {what}: {str(live)[:200]} came back as {str(restored)[:200]}")
    return {what for _, what, _, _ in found}


def test_getfacl_says_the_same(column: Column) -> None:
    assert column.after.acl_live == column.after.acl_restored
    assert any(b"1234" in each for each in column.after.acl_live.values())


def test_nothing_was_missed_or_left_out(column: Column) -> None:
    """But for what lies too deep: that is told, when it is captured and when it is restored."""
    [deep] = DEEP
    assert (column.gaps, column.mechanism) == ([], WEAKER.get(column.name, "fanotify")), column.log
    assert (column.costs == "") == (column.name in TRACED)
    assert [path for path in column.unreadable if f"/{deep}/" in path] == column.unreadable != []
    assert [each for each in column.after.troubles if f"/{deep}/" not in each] == []


def test_a_rename_of_ten_thousand_files_is_one(column: Column) -> None:
    """A name that leads to the directory, and one that no longer does; of the files in it nothing is said."""
    if column.name in WEAKER:
        return
    assert [row["name"] for row in column.moved] == [b"ten thousand moved", b"ten thousand"]
    assert [row["kind"] for row in column.moved] == [DENTRY, DENTRY]
