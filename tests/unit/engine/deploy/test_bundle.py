"""The agent's bundle: the same content gives the same bytes, and it runs with nothing else at hand."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from engine.deploy import bundle
from engine.deploy.runner import PLAYBOOKS
from engine.model.errors import Failed

UNPACK = PLAYBOOKS / "roles" / "agent" / "files" / "unpack.py"


def unpack(archive: Path, root: Path, version: str, keep: int = 3) -> None:
    subprocess.run([sys.executable, str(UNPACK), str(archive), str(root), version, str(keep)], check=True)


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one = bundle.build(tmp_path / "one")
    two = bundle.build(tmp_path / "two")
    assert one.version == two.version
    assert one.path.read_bytes() == two.path.read_bytes()


def test_a_second_build_takes_the_first(tmp_path: Path) -> None:
    built = bundle.build(tmp_path)
    built.path.write_bytes(b"as it was")
    assert bundle.build(tmp_path).path.read_bytes() == b"as it was"


def test_changed_content_changes_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "more.py"
    source.write_text("A = 1\n")
    sources = bundle._sources
    monkeypatch.setattr(bundle, "_sources", lambda: [*sources(), ("lib/engine/more.py", source)])
    before = bundle.build(tmp_path / "cache").version
    source.write_text("A = 2\n")
    assert bundle.build(tmp_path / "cache").version != before


def test_holds_no_server_parts_and_no_trace_of_this_machine(tmp_path: Path) -> None:
    with tarfile.open(bundle.build(tmp_path).path) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {name.split("/")[2] for name in names if name.startswith("lib/engine/")} == {"__init__.py", *bundle.PARTS}
    assert not [name for name in names if name.endswith(".pyc")]
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


def test_imports_without_site_packages(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache")
    unpack(built.path, tmp_path / "root", built.version)
    lib = tmp_path / "root" / built.version / "lib"
    code = (
        "import engine.wire.batch, engine.tree.walk, blake3, xxhash, zstandard, inotify_simple; print(engine.__file__)"
    )
    argv = [sys.executable, "-S", "-P", "-c", code]
    said = subprocess.run(argv, env={"PYTHONPATH": str(lib)}, capture_output=True, text=True)
    assert said.stdout.strip() == str(lib / "engine" / "__init__.py"), said.stderr
    assert list(lib.rglob("*.pyc"))


def test_old_versions_go_but_never_the_current_one(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache")
    root = tmp_path / "root"
    unpack(built.path, root, "v1")
    (root / "current").symlink_to("v1")
    for version in ("v2", "v3", "v4"):
        unpack(built.path, root, version, keep=2)
    assert sorted(path.name for path in root.iterdir()) == ["current", "v1", "v3", "v4"]


def test_a_cut_off_archive_leaves_no_version(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache")
    built.path.write_bytes(built.path.read_bytes()[:100_000])
    with pytest.raises(subprocess.CalledProcessError):
        unpack(built.path, tmp_path / "root", "v1")
    assert list((tmp_path / "root").iterdir()) == []


def test_other_platforms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"Python 3\.99 on riscv64"):
        bundle.build(tmp_path, bundle.Platform("3.99", "riscv64"))
