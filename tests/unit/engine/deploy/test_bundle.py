"""The agent's bundle: the same content gives the same bytes, and it runs with nothing else at hand."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.deploy import bundle, packages, wheels
from engine.deploy.packages import Entry
from engine.deploy.platforms import Platform
from engine.deploy.runner import PLAYBOOKS
from engine.model.errors import Failed

UNPACK = PLAYBOOKS / "files" / "unpack.py"


def unpack(archive: Path, root: Path, version: str, keep: int = 3, python: str = sys.executable) -> None:
    argv = [sys.executable, str(UNPACK), str(root), version, str(keep), python, "BCS_AGENT_VERSION"]
    with archive.open("rb") as bundle:
        subprocess.run(argv, stdin=bundle, check=True)


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
    monkeypatch.setattr(bundle, "_sources", lambda kind: [*sources(kind), Entry("engine/more.py", source.read_bytes)])
    before = bundle.build(tmp_path / "cache").version
    source.write_text("A = 2\n")
    assert bundle.build(tmp_path / "cache").version != before


def test_holds_no_server_parts_and_no_trace_of_this_machine(tmp_path: Path) -> None:
    with tarfile.open(bundle.build(tmp_path).path) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    parts = {name.split("/")[2] for name in names if name.startswith("lib/engine/")}
    assert parts == {"__init__.py", *bundle.AGENT_PARTS}
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
    for version in ("v1", "v2", "v3"):
        unpack(built.path, root, version, keep=2)
    assert sorted(path.name for path in root.iterdir()) == ["current", "v2", "v3"]
    unpack(built.path, root, "v2", keep=1)
    assert sorted(path.name for path in root.iterdir()) == ["current", "v2"]
    assert (root / "current").readlink() == Path("v2")


def test_a_cut_off_archive_leaves_no_version(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache")
    built.path.write_bytes(built.path.read_bytes()[:100_000])
    with pytest.raises(subprocess.CalledProcessError):
        unpack(built.path, tmp_path / "root", "v1")
    assert list((tmp_path / "root").iterdir()) == []


def test_what_one_that_was_killed_left_goes_and_another_python_replaces(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache")
    root = tmp_path / "root"
    (root / ".v1" / "lib").mkdir(parents=True)
    (root / ".v1" / "lib" / "half.py").write_text("hal")
    (root / ".current").symlink_to("v0")
    unpack(built.path, root, "v1")
    assert sorted(path.name for path in root.iterdir()) == ["current", "v1"]
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    unpack(built.path, root, "v1", python=str(link))
    assert str(link) in (root / "v1" / "start").read_text()
    unpack(Path("/dev/null"), root, "v1", python=str(link))  # nothing is read when it is there


def test_start_runs_the_version_it_lies_in(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache")
    root = tmp_path / "a root"
    unpack(built.path, root, "v1")
    code = "import os, engine.agent; print(engine.__file__, os.environ['BCS_AGENT_VERSION'])"
    said = subprocess.check_output([root / "current" / "start", "-c", code], text=True)
    assert said.strip() == f"{root / 'v1' / 'lib' / 'engine' / '__init__.py'} v1"


def test_a_platform_that_nothing_is_here_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(Failed, match=r"no packages for Python 3\.13 on aarch64") as caught:
        bundle.build(tmp_path, Platform("3.13", "aarch64"))
    assert "make wheels" in caught.value.hint
    assert not list(tmp_path.glob("wheels/*"))


def test_wheels_that_were_fetched_before_need_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform("3.12", "aarch64")
    monkeypatch.setattr(packages, "AGENT", ("inotify-simple",))
    monkeypatch.setitem(bundle._DEPENDENCIES, "agent", packages.AGENT)
    monkeypatch.setattr(wheels, "_download", lambda directory, platform: pure_wheel(directory))
    wheels.fetch(tmp_path / "wheels", packages.AGENT, platform)
    monkeypatch.setattr(wheels, "_download", lambda directory, platform: pytest.fail("fetched again"))
    with tarfile.open(bundle.build(tmp_path, platform).path) as archive:
        assert "lib/inotify_simple.py" in archive.getnames()


def pure_wheel(directory: Path) -> None:
    with zipfile.ZipFile(directory / "inotify_simple-2.0.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("inotify_simple.py", "")
        wheel.writestr("inotify_simple-2.0.1.dist-info/RECORD", "")


def test_the_lock_names_all_that_bundles_need() -> None:
    for name in {*packages.AGENT, *packages.NODE}:
        text = wheels.locked(name)
        assert text.startswith(f"{name}==") and "--hash=sha256:" in text and ";" not in text


def test_a_node_has_all_that_it_asks_for_but_ansible_and_a_web_client() -> None:
    left_out = {"ansible-core", "ansible-runner", "httpx", "markdown-it-py", "pygments", "pycparser"}
    todo, needed = ["bcsctl"], set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name in needed or name in left_out:
            continue
        needed.add(name)
        wanted = [Requirement(text) for text in importlib.metadata.requires(name) or []]
        todo += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    assert needed - {"bcsctl", "mdurl"} <= set(packages.NODE)


def test_a_node_runs_out_of_its_bundle(tmp_path: Path) -> None:
    built = bundle.build(tmp_path / "cache", kind=bundle.NODE)
    assert bundle.bytes_on_disk(built.path) < 300e6
    unpack(built.path, tmp_path / "root", "v1")
    start = [tmp_path / "root" / "current" / "start", "-S"]
    code = (
        "import engine.node.serve, engine.journal.merge, engine.query.checkpoint, pyarrow.parquet;"
        "import duckdb, pyarrow as pa;"
        "numbers = pa.table({'a': [1, 2]});"
        "print(duckdb.connect().execute('select sum(a) from numbers').fetchone()[0])"
    )
    said = subprocess.run([*start, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "3", said.stderr
    for words in ("--version", "serve --help", "points --help", "restore --help", "report --help"):
        done = subprocess.run([*start, "-m", "bcsctl", *words.split()], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
