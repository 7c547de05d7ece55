"""What was lately and often changed is filled first, as the journal knows it, and the rest at the set rate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.kept import documents, map, table
from engine.fill.life.choosing import why_not
from tests import plug
from tests.embedded import Site

ADDRESS = "demo/localhost/files"
FILES, FILE_BYTES, HOT = 8, 256 << 10, "f6"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if all(why_not(name, os.fsencode(tmp_path)) for name in ("pre-access", "fuse")):
        pytest.skip("nothing fills a tree on demand here")
    (tmp_path / "source").mkdir()
    for number in range(FILES):
        (tmp_path / "source" / f"f{number}").write_bytes(os.urandom(FILE_BYTES))
    with Site(tmp_path / "home").start() as made:
        made.protect(ADDRESS, tmp_path / "source")
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            made.kill("agent")
            plug.take_away(made.home)


def test_hot_files_come_first(site: Site, tmp_path: Path) -> None:
    hot = tmp_path / "source" / HOT
    for number in range(3):
        with hot.open("r+b") as file:
            file.write(b"%d" % number * 100)
        site.wait(lambda: site.run("cat", f"{ADDRESS}:{hot}").stdout == hot.read_bytes(), 120, "the change")
    told = site.json("restore", ADDRESS, "--to", str(tmp_path / "back"), "--on-demand", "--rate", "512KiB")
    place = documents.place_of(site.home, told["id"])
    files = table.read(place.files)
    known = map.Map(place.map)
    try:
        whole: list[str] = []
        end = time.monotonic() + 120
        while len(whole) < 2:
            assert time.monotonic() < end, whole
            cold = {
                file.path.decode(): known.count_cold(file.first_block, file.first_block + file.blocks) for file in files
            }
            whole += [name for name, count in cold.items() if count == 0 and name not in whole]
            time.sleep(0.005)
    finally:
        known.close()
    assert whole[0] == HOT
