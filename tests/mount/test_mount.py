"""`bcsctl mount`: every tool that can read a file sees any moment, whole and unchanged."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ADDRESS, History, await_it


def _walk(root: Path) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    """What a tree is, told by the kernel alone; shares nothing with the product."""
    top = os.fsencode(root)
    first: dict[tuple[int, int], bytes] = {}
    paths = [top]
    for directory, names, files in os.walk(top):
        paths += [os.path.join(directory, name) for name in names + files]
    for path in sorted(paths):
        status = os.lstat(path)
        content = b""
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                content = file.read()
        kept = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        yield (
            path[len(top) :],
            (
                *(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, kept, content),
                status.st_size if not stat.S_ISDIR(status.st_mode) else 0,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
                first.setdefault((status.st_dev, status.st_ino), path[len(top) :]),
                status.st_nlink if stat.S_ISREG(status.st_mode) else 0,
            ),
        )


def _differences(left: Path, right: Path) -> list[object]:
    one, other = dict(_walk(left)), dict(_walk(right))
    return [
        (path, one.get(path), other.get(path)) for path in sorted({*one, *other}) if one.get(path) != other.get(path)
    ]


def test_the_newest_point_is_the_tree_as_it_is(mounted: Path, history: History) -> None:
    assert _differences(history.source, (mounted / ADDRESS / "latest").resolve()) == []


def test_an_earlier_time_is_the_tree_as_it_was(mounted: Path, history: History) -> None:
    then = mounted / ADDRESS / history.at
    assert _differences(history.before, then) == []
    assert not (then / "new").exists()


def test_every_way_to_say_a_moment_works_as_a_name(mounted: Path, history: History) -> None:
    source = mounted / ADDRESS
    points = history.site.json("points", ADDRESS)["points"]
    position = next(each["point"] for each in points if each["at"] == history.at)
    for name in (f"point:{position}", "mark:before-upgrade", history.at, history.at.replace(":", "-")):
        assert (source / name / "changing").read_text() == "first\n", name
    assert (source / "-0s" / "changing").read_text() == "second\n"


def test_moments_that_are_none_are_not_there(mounted: Path) -> None:
    for name in ("2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "nonsense", "point:9.9", "mark:unknown", "\udcff"):
        with pytest.raises(FileNotFoundError):
            os.stat(mounted / ADDRESS / name)


def test_listings_show_groups_hosts_sources_and_moments(mounted: Path) -> None:
    assert os.listdir(mounted) == ["demo"]
    assert os.listdir(mounted / "demo" / "localhost") == ["files"]
    shown = os.listdir(mounted / ADDRESS)
    assert {"latest", "mark:before-upgrade"} <= set(shown)
    assert os.readlink(mounted / ADDRESS / "latest").endswith("Z")
    for name in shown:
        assert (mounted / ADDRESS / name / "plain").read_bytes() == b"hello\n"


def test_the_whole_path_may_be_typed_too(mounted: Path, history: History) -> None:
    path = mounted / ADDRESS / "latest" / str(history.source).lstrip("/") / "changing"
    assert path.read_text() == "second\n"


def test_nothing_can_be_changed(mounted: Path) -> None:
    then = mounted / ADDRESS / "latest"
    attempts = (
        lambda: (then / "changing").write_text("x"),
        lambda: os.unlink(then / "changing"),
        lambda: os.mkdir(then / "d"),
        lambda: os.chmod(then / "changing", 0o777),
        lambda: os.rename(then / "changing", then / "y"),
        lambda: os.mkdir(mounted / "group"),
    )
    for attempt in attempts:
        with pytest.raises(OSError) as told:
            attempt()
        assert told.value.errno == errno.EROFS


def test_random_reads_give_the_bytes_that_were_there(mounted: Path, history: History) -> None:
    wanted = (history.source / "new" / "file").read_bytes()
    chance = random.Random(7)
    with open(mounted / ADDRESS / "latest" / "new" / "file", "rb") as file:
        for _ in range(200):
            offset, size = chance.randrange(len(wanted) + 1000), chance.choice((1, 100, 4096, 100_000, 1 << 20))
            assert os.pread(file.fileno(), size, offset) == wanted[offset : offset + size]
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert bytes(mapped) == wanted


def test_holes_are_holes(mounted: Path, history: History, tmp_path: Path) -> None:
    shown, was = mounted / ADDRESS / history.at / "sparse", history.before / "sparse"
    assert _data(shown) == _data(was) != []
    assert shown.stat().st_blocks * 512 < shown.stat().st_size == was.stat().st_size
    subprocess.run(["cp", "--reflink=never", shown, tmp_path / "copied"], check=True)
    assert (tmp_path / "copied").stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "copied").read_bytes() == was.read_bytes()
    with open(shown, "rb") as file, pytest.raises(OSError) as told:
        os.lseek(file.fileno(), 3 << 20, os.SEEK_HOLE)
    assert told.value.errno == errno.ENXIO
    whole = mounted / ADDRESS / "latest" / "new" / "file"
    assert _data(whole) == [(0, 3 << 20)]
    assert whole.stat().st_blocks * 512 == 3 << 20


def _data(path: Path) -> list[tuple[int, int]]:
    """(start, end) of each range that is no hole, as lseek(2) tells them one after another."""
    found: list[tuple[int, int]] = []
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, at))
    return found


def test_tools_work_on_it(mounted: Path, history: History, tmp_path: Path) -> None:
    then = mounted / ADDRESS / history.at
    sockets = ["--exclude=./socket"]
    packed = subprocess.run(["tar", "-C", then, *sockets, "-cf", "-", "."], capture_output=True, check=True).stdout
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "out", "-xpf", "-"], input=packed, check=True)
    assert (tmp_path / "out" / "sparse").read_bytes() == (history.before / "sparse").read_bytes()
    assert os.path.samefile(tmp_path / "out" / "plain", tmp_path / "out" / "dir" / "hard link")
    found = subprocess.run(["grep", "-rl", "first", then / "changing"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(then / "changing")
    subprocess.run(["cp", "-a", then / "dir", tmp_path / "copied"], check=True)
    assert _differences(then / "dir" / "deeper", tmp_path / "copied" / "deeper") == []


def test_one_source_alone_and_in_the_background(history: History, tmp_path: Path) -> None:
    place = tmp_path / "alone"
    place.mkdir()
    told = history.site.json("mount", str(place), ADDRESS, "--daemon")
    try:
        assert told["mounted"] == str(place)
        assert (place / "latest" / "changing").read_text() == "second\n"
    finally:
        subprocess.run(["umount", place], check=True)
    await_it(lambda: not _lives(told["pid"]))


def test_an_unknown_source_is_named(history: History, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for more in ([], ["--daemon"]):
        done = history.site.run("mount", str(tmp_path / "empty"), "demo/localhost/fiels", *more, check=False)
        assert done.returncode == 5
        assert "demo/localhost/files" in done.stderr.decode()


def test_the_mount_outlives_the_node(mounted: Path, history: History) -> None:
    assert (mounted / ADDRESS / "latest" / "plain").read_bytes() == b"hello\n"
    history.site.kill("node")
    try:
        assert (mounted / ADDRESS / history.at / "dir" / "deeper").is_dir()
        assert (mounted / ADDRESS / history.at / "changing").read_text() == "first\n"
    finally:
        history.site.start_node()
    assert _differences(history.before, mounted / ADDRESS / history.at) == []


def test_a_new_point_shows_within_seconds(mounted: Path, history: History) -> None:
    changing = history.source / "later"
    assert not (mounted / ADDRESS / "latest" / "later").exists()
    changing.write_text("later\n")
    await_it(lambda: (mounted / ADDRESS / "latest" / "later").exists())
    changing.unlink()
    await_it(lambda: not (mounted / ADDRESS / "latest" / "later").exists())


def test_its_end_leaves_nothing_even_when_someone_stands_in_it(history: History, tmp_path: Path) -> None:
    place = tmp_path / "busy"
    place.mkdir()
    command = [sys.executable, "-m", "bcsctl", "mount", str(place)]
    with subprocess.Popen(command, env=history.site.environment, stderr=subprocess.DEVNULL) as program:
        await_it(lambda: os.path.ismount(place))
        held = os.open(place / ADDRESS / "latest" / "plain", os.O_RDONLY)
        program.send_signal(signal.SIGINT)
        program.wait(120)
        assert not os.path.ismount(place)
        with pytest.raises(OSError):
            os.pread(held, 1, 0)
        with contextlib.suppress(OSError):
            os.close(held)
    assert program.returncode == 0


def test_damaged_bytes_are_an_error_and_never_shown(mounted: Path, history: History) -> None:
    packs = sorted((history.site.home / "journal" / "packs").rglob("*"))
    whole = {pack: pack.read_bytes() for pack in packs if pack.is_file()}
    largest = max(whole, key=lambda pack: len(whole[pack]))
    spoiled = bytearray(whole[largest])
    for at in range(200, len(spoiled), 1000):
        spoiled[at] ^= 1
    mode = largest.stat().st_mode
    largest.chmod(0o600)
    largest.write_bytes(spoiled)
    try:
        with pytest.raises(OSError) as told:
            (mounted / ADDRESS / "latest" / "new" / "file").read_bytes()
        assert told.value.errno == errno.EIO
        assert (mounted / ADDRESS / "latest" / "changing").read_text() == "second\n"
    finally:
        largest.write_bytes(whole[largest])
        largest.chmod(mode)
    assert (mounted / ADDRESS / "latest" / "new" / "file").stat().st_size == 3 << 20


@pytest.mark.parametrize("place", ["not-there", "full"])
def test_only_an_empty_directory_is_mounted_on(history: History, tmp_path: Path, place: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = history.site.run("mount", str(tmp_path / place), check=False)
    assert done.returncode == 4
    assert place in done.stderr.decode()


def _lives(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_what_is_mounted_already_is_called_that(history: History, tmp_path: Path) -> None:
    place = tmp_path / "twice"
    place.mkdir()
    told = history.site.json("mount", str(place), "--daemon")
    try:
        again = history.site.run("mount", str(place), "--daemon", check=False)
        assert again.returncode == 4 and "mounted" in again.stderr.decode() and "already" in again.stderr.decode()
    finally:
        subprocess.run(["umount", place], check=True)
    await_it(lambda: not _lives(told["pid"]))
