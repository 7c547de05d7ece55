"""Whatever is done to a file while it is cold ends as if it had been there all the time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.tree.compare import compare
from tests.mounts import mounted
from tests.ondemand import rows_changing, rows_reading
from tests.ondemand.conftest import WHERE, skip_if_impossible
from tests.ondemand.rig import Recovery, recovery
from tests.ondemand.table import Row, answer, make, rows_of
from tests.sample_tree import make_sample

ROWS = rows_of(rows_reading, rows_changing)


@dataclass
class Pair:
    """The same tree twice: filled on demand, and plain."""

    kind: str
    recovery: Recovery
    plain: Path

    @property
    def cold(self) -> Path:
        return self.recovery.dir


@pytest.fixture(scope="module", params=WHERE, ids=lambda where: "-".join(where))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    mechanism, kind = request.param
    base = tmp_path_factory.mktemp("rows")
    source = base / "source"
    (source / "sample").mkdir(parents=True)
    make(source, ROWS)
    make_sample(source / "sample")
    with mounted(kind) as disk:
        skip_if_impossible(mechanism, disk)
        plain = disk / "plain"
        subprocess.run(["cp", "-a", source, plain], check=True)
        with recovery(source, disk / "tree", base / "home", mechanism) as found:
            found.begin()
            yield Pair(kind, found, plain)
    shutil.rmtree(base)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_cold_file_is_as_any_other(pair: Pair, row: Row) -> None:
    if pair.recovery.mechanism in row.not_by or (row.kinds and pair.kind not in row.kinds):
        pytest.skip("not here")
    plain, cold = pair.plain / row.name, pair.cold / row.name
    expected = answer(row, plain / "file")
    assert pair.recovery.cold_blocks(f"{row.name}/file") > 0
    assert answer(row, cold / "file") == expected, pair.recovery.log()
    found = compare(os.fsencode(plain), os.fsencode(cold), times=row.reads)
    assert [str(each) for each in found if each.path != b"."] == []


def test_nothing_is_left_when_all_is_filled(pair: Pair) -> None:
    """The rest comes by itself, and then both trees are the same: content, attributes, links."""
    pair.recovery.fill()
    found = compare(os.fsencode(pair.plain), os.fsencode(pair.cold), times=False)
    assert [str(each) for each in found] == [], pair.recovery.log()
    found = compare(os.fsencode(pair.plain / "sample"), os.fsencode(pair.cold / "sample"))
    assert [str(each) for each in found] == []
