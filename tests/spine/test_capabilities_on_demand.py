"""Capabilities outlive a fill whose fillers are killed one after the other just when a write has taken them away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.base import LIVING
from engine.fill.kept import documents
from engine.fill.life.choosing import why_not
from tests import plug
from tests.embedded import Site
from tests.sample_tree import CAPABILITY

ADDRESS = "demo/localhost/files"
NAME = "security.capability"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_bytes(os.urandom(5 << 20))
    try:
        os.setxattr(source / "tool", NAME, CAPABILITY)
    except OSError:
        pytest.skip("capabilities can't be set here")
    with Site(tmp_path / "home") as made:
        made.start()
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            plug.take_away(made.home)


@pytest.mark.parametrize("mechanism", ["pre-access", "fuse"])
def test_each_filler_is_killed_before_it_gave_them_again(site: Site, mechanism: str) -> None:
    target = site.home.parent / "target"
    if why := why_not(mechanism, os.fsencode(target.parent)):
        pytest.skip(why)
    whole = (site.home.parent / "source" / "tool").read_bytes()
    site.environment["BCS_CRASH_AT"] = "filled-before-its-privileges:2"
    told = site.json("restore", ADDRESS, "--to", str(target), "--on-demand", "--mechanism", mechanism)
    del site.environment["BCS_CRASH_AT"]
    place = documents.place_of(site.home, told["id"])
    site.wait(lambda: documents.read_state(place).state not in LIVING, 120, "the end of filling")
    assert (target / "tool").read_bytes() == whole
    assert os.getxattr(target / "tool", NAME) == CAPABILITY
