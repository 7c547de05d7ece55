"""A tree filled at its source's own place: its agent reads next to nothing of what was filled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.agent.ranges.fillers import Fillers
from engine.fill.kept import documents
from engine.fill.life.choosing import why_not
from tests import plug
from tests.embedded import Site

ADDRESS = "demo/localhost/files"
FILES, FILE_BYTES, HOLE_BYTES = 8, 3 << 20, 64 << 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    source.mkdir()
    if why := why_not("pre-access", os.fsencode(source)):
        pytest.skip(why)
    for number in range(FILES):
        (source / f"f{number}").write_bytes(os.urandom(FILE_BYTES))
    with open(source / "sparse", "wb") as file:
        file.truncate(HOLE_BYTES)
        file.seek(HOLE_BYTES // 2)
        file.write(b"data")
    with Site(tmp_path / "home") as made:
        made.start()
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            made.kill("agent")
            plug.take_away(made.home)


def bytes_read(site: Site) -> int:
    told = json.loads(site.run("agent", "status", "--json", check=False).stdout)["sources"][0]
    if told["ranges"] != "trace" or not Fillers(list)._comparable:
        pytest.skip("the kernel's traces can't be had here, or know threads by other numbers")
    return int(told["bytes_read"])


def test_what_was_filled_is_not_read_again(site: Site) -> None:
    source = site.home.parent / "source"
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "whole")["marks"])
    shutil.rmtree(source)
    before = bytes_read(site)
    more = ("--on-demand", "--rate", "8MiB", "--mechanism", "pre-access")
    told = site.json("restore", ADDRESS, "--at", "mark:whole", "--to", str(source), *more)
    place = documents.place_of(site.home, told["id"])
    site.wait(lambda: (place.path / "captured").exists(), 120, "capture to know by itself")
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "filled")["marks"])
    assert bytes_read(site) - before < FILES * FILE_BYTES // 2
