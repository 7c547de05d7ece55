"""`bcsctl restore --to -`: what tar(1) makes of the stream is what was protected."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.journal.open import open_local
from engine.query.points import points
from engine.query.session import Session
from engine.query.streams import find
from engine.recovery import tar
from engine.recovery.restoring import pieces_of, prepare_for
from tests.embedded import Site
from tests.sample_tree import make_sample

ADDRESS = "demo/localhost/files"
TAR = ["tar", "--xattrs", "--xattrs-include=*", "--acls", "-xpf", "-"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("tar")
    (base / "source").mkdir()
    make_sample(base / "source")
    with Site(base / "home").start() as made:
        made.protect(ADDRESS, base / "source")
        made.wait_protected(ADDRESS)
        yield made


def _source(site: Site) -> Path:
    return site.home.parent / "source"


def _seen(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything that tar keeps of a tree."""
    top = os.fsencode(root)
    found: dict[bytes, tuple[object, ...]] = {}
    paths = [top]
    for directory, names, files in os.walk(top):
        paths += [os.path.join(directory, name) for name in names + files]
    for path in paths:
        status = os.lstat(path)
        regular, link = status.st_mode >> 12 == 8, status.st_mode >> 12 == 10
        names = sorted(os.listxattr(path, follow_symlinks=False))
        found[path[len(top) :]] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev),
            [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names],
            Path(os.fsdecode(path)).read_bytes() if regular else os.readlink(path) if link else b"",
            status.st_nlink if regular else 0,
        )
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")
def test_a_tree_comes_out_of_tar_as_it_was(site: Site, tmp_path: Path) -> None:
    packed = site.run("restore", ADDRESS, "--to", "-")
    subprocess.run([*TAR, "-C", tmp_path], input=packed.stdout, check=True)
    wanted = _seen(_source(site))
    assert wanted.pop(b"/socket")
    assert "socket" in packed.stderr.decode()
    assert _seen(tmp_path) == wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
def test_what_a_header_has_no_room_for_stands_in_records(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_NAME_MAX", "_ID_MAX", "_SIZE_MAX"):
        monkeypatch.setattr(tar, limit, 0)
    journal = open_local(site.home / "journal", bytes.fromhex((site.home / "keys" / "master.key").read_text()))
    stream = find(journal, ADDRESS)
    with Session(journal) as session, (tmp_path / "all.tar").open("wb") as out:
        point = points(session, stream.id)[-1]
        prepared = prepare_for(journal, session, stream, point, None, tar.HERE)
        tar.write(out, journal, stream.id, prepared.plan, pieces_of(session, prepared), lambda files, count: None)
    (tmp_path / "out").mkdir()
    subprocess.run([*TAR, "-C", tmp_path / "out"], input=(tmp_path / "all.tar").read_bytes(), check=True)
    wanted = _seen(_source(site))
    wanted.pop(b"/socket")
    assert _seen(tmp_path / "out") == wanted


def test_one_file_and_its_last_name(site: Site) -> None:
    packed = site.run("restore", f"{ADDRESS}:{_source(site)}/dir/deeper", "--to", "-").stdout
    listed = subprocess.run(["tar", "-tf", "-"], input=packed, capture_output=True, check=True).stdout.decode()
    assert listed.splitlines() == ["./deeper/"]


def test_times_are_kept_to_the_nanosecond(site: Site, tmp_path: Path) -> None:
    archive = tmp_path / "all.tar"
    archive.write_bytes(site.run("restore", ADDRESS, "--to", "-").stdout)
    with tarfile.open(archive) as opened:
        kept = opened.getmember("./plain").pax_headers["mtime"]
    seconds, _, fraction = kept.partition(".")
    assert int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")) == (_source(site) / "plain").stat().st_mtime_ns


def test_a_dry_run_packs_nothing(site: Site) -> None:
    told = site.json("restore", ADDRESS, "--to", "-", "--dry-run")
    assert told["dry_run"] and told["plan"]["files"] > 5


def test_both_ends_are_recorded(site: Site) -> None:
    before = site.json("query", "SELECT count(*) AS n FROM audit WHERE what IN ('restore', 'restoring')")["rows"][0][0]
    site.run("restore", ADDRESS, "--to", "-")
    site.wait(lambda: _acts(site) == before + 2, 120, "the audit to hold both")


def _acts(site: Site) -> int:
    query = "SELECT count(*) AS n FROM audit WHERE what IN ('restore', 'restoring')"
    return int(site.json("query", query)["rows"][0][0])


@pytest.mark.parametrize("more", [["--json"], ["--verify", "--json"]])
def test_standard_output_is_the_streams_alone(site: Site, more: list[str]) -> None:
    done = site.run("restore", ADDRESS, "--to", "-", *more, check=False)
    assert done.returncode == 2


def test_a_terminal_gets_no_archive(site: Site) -> None:
    script = (
        "import os, pty, sys\n"
        f"argv = {[sys.executable, '-m', 'bcsctl', 'restore', ADDRESS, '--to', '-']!r}\n"
        "code = pty.spawn(argv, lambda fd: os.read(fd, 1024))\n"
        "sys.exit(os.waitstatus_to_exitcode(code))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=site.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=300
    )
    assert done.returncode == 2
    assert b"terminal" in done.stdout


SPARSE = {"begins with data": [(0, 5000), (1 << 20, 3), (40 << 20, 70_000)], "one hole " + "x" * 120: []}
SPARSE_SIZE = (50 << 20) + 77


def test_sparse_files_come_out_with_their_holes(site: Site, tmp_path: Path) -> None:
    """By GNU tar and, where there is one, by a program that uses libarchive, as bsdtar does."""
    made = _source(site) / "sparse files"
    made.mkdir()
    for name, ranges in SPARSE.items():
        with (made / name).open("wb") as file:
            file.truncate(SPARSE_SIZE)
            for offset, length in ranges:
                file.seek(offset)
                file.write(os.urandom(length))
    (made / "solid").write_bytes(bytes(300_000))
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "sparse")["marks"])
    packed = site.run("restore", f"{ADDRESS}:{made}", "--at", "mark:sparse", "--to", "-").stdout
    assert len(packed) < 1 << 20
    readers = {"tar": ["tar", "-xf", "-"], "bsdtar": ["bsdtar", "-xf", "-"], "cmake": ["cmake", "-E", "tar", "xf", "-"]}
    for reader, command in readers.items():
        if reader != "tar" and shutil.which(reader) is None:
            continue
        out = tmp_path / reader
        out.mkdir()
        if reader == "cmake":  # reads no standard input
            (tmp_path / "all.tar").write_bytes(packed)
            command = [*command[:-1], str(tmp_path / "all.tar")]
        subprocess.run(command, input=packed, check=True, cwd=out, env={**os.environ, "LC_ALL": "C.UTF-8"})
        [found] = [each for each in out.rglob("sparse files") if each.is_dir()]
        assert {each.name for each in found.iterdir()} == {*SPARSE, "solid"}
        for name in (*SPARSE, "solid"):
            assert (found / name).read_bytes() == (made / name).read_bytes(), (reader, name)
        for name in SPARSE:
            assert (found / name).stat().st_blocks * 512 < 1 << 20, (reader, name)
