"""What the audit keeps of restores counts each source's own files and bytes, without holes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from bcsctl.restoring import moments
from engine.env.clock import SYSTEM
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.errors import NothingThere
from engine.model.ids import Address, stream_id
from engine.model.times import format_time
from engine.wire.batch import NO_HASH, BatchBuilder

from .conftest import PlainSite, Run, commit

SPARSE = "docs/localhost/disk"
SIZE, DATA = 100 << 30, b"sixteen bytes !!"
"""Were its holes read, once, every test here would take minutes."""


@pytest.fixture
def home(site: PlainSite, tmp_path: Path) -> Path:
    """The site's journal with a second source in its group: one large file that is almost all hole."""
    home = tmp_path / "own"
    site.copy(home)
    address, at = Address(*SPARSE.split("/")), SYSTEM.now() - 1_000_000
    stream = stream_id(address)
    with Committer(open_local(home / "journal", b"\x5a" * 32), "n1") as committer:
        committer.register(address)
        head = committer.open_stream(stream, "agent", None).head
        builder = BatchBuilder(stream, head.epoch, 1, NO_HASH)
        image = builder.inode(at, None, "f", 0o600, os.getuid(), os.getgid(), SIZE, at * 1000)
        builder.dentry(at, 0, b"image", image)
        builder.extent(at, image, SIZE // 2, DATA)
        builder.mark(at, "baseline", point_class="quiet")
        commit(committer, builder)
    return home


def ends(home: Path, what: str) -> list[dict[str, Any]]:
    lines = (home / "audit" / "pending.jsonl").read_text().splitlines()
    return [act["details"] for act in map(json.loads, lines) if act["what"] == what]


@pytest.mark.parametrize("at", ["", "2999-01-01T00:00:00Z"])
def test_a_group_names_a_moment_that_all_of_it_has(
    run: Run, site: PlainSite, home: Path, tmp_path: Path, at: str
) -> None:
    """One lies after both, at the other the second source had not begun: the nearest point of one may be of no use."""
    moment = at or format_time(site.first)
    error = run("restore", "docs", "--at", moment, "--to", tmp_path / "back dir", "--json", home=home).json["error"]
    command = error["details"]["command"]
    assert f"`{command}` works" in error["hint"] and ("--partial" in error["hint"]) is (not at)
    done = run(*shlex.split(command)[1:], "--json", home=home)
    assert done.code == 0 and len(done.json["sources"]) == 2


def test_a_group_without_a_common_moment_says_so() -> None:
    near = {"before": None, "after": {"point": "1.1", "at": "2026-11-22T10:00:00Z"}}
    missing = {SPARSE: NothingThere("before the first", details=near)}
    refused = moments.of_all(NothingThere("1 of 2"), missing, 2, lambda at: missing)
    assert "no moment near it" in refused.hint and "--partial" in refused.hint and "command" not in refused.details
    unknown = NothingThere("no mark is named 'x'", hint="marks there are: y")
    assert moments.of_all(unknown, {SPARSE: unknown}, 2, lambda at: {}) is unknown


def test_each_source_of_a_tar_stream_has_its_own_numbers(run: Run, home: Path) -> None:
    packed = run("restore", "docs", "--to", "-", home=home)
    assert packed.code == 0, packed.err
    counted = {act["address"]: (act["files"], act["bytes"]) for act in ends(home, "restore")}
    assert counted == {SPARSE: (1, len(DATA)), "docs/localhost/files": (2, 4)}
    assert f"packed 3 files, {len(DATA) + 4} B" in packed.err


def test_a_promotion_counts_as_the_restore_did(run: Run, home: Path, tmp_path: Path) -> None:
    made = run("restore", SPARSE, "--to", "scratch", "--json", home=home)
    assert made.code == 0, made.err
    assert made.json["plan"]["data_bytes"] == made.json["bytes"] == len(DATA)
    checked = run("restore", "check", made.json["scratch"]["id"], home=home)
    assert checked.code == 0, checked.err
    moved = run("restore", "promote", made.json["scratch"]["id"], "--to", tmp_path / "there", home=home)
    assert moved.code == 0, moved.err
    [restored], [promoted] = ends(home, "restore"), ends(home, "promote")
    assert (promoted["files"], promoted["bytes"]) == (restored["files"], restored["bytes"]) == (1, len(DATA))


def test_an_empty_list_says_what_is_not_there(run: Run, home: Path) -> None:
    assert "there is no scratch restore, and no restore was broken off" in run("restore", "list", home=home).err
