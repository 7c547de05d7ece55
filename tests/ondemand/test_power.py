"""The power goes in the middle of filling: the disk itself tells afterwards what had come, and what is still cold.

The file system stops as it does then (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN, without a flush of its journal); the
recovery's own state lies on it, too. Supervisor and filler end with it, and the boot is another one.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.fill.base import FUSE, PRE_ACCESS
from engine.fill.tree.conditions import zeroing
from tests.failures.test_power import cut_power
from tests.mounts import Volume, volume
from tests.ondemand.conftest import skip_if_impossible
from tests.ondemand.rig import Like, Recovery, recovery

BLOCK, PAGE = 8192, 4096
SIZE = 120 * BLOCK + 500
FILES = 12
LAST = "last"
"""It can't be had before the power is back: however fast the others come, that goes in the middle of filling."""
SEEDS = (1, 2)
FICLONE = 0x40049409  # linux/fs.h

Contents = dict[str, bytes]


def make(source: Path, seed: int) -> Contents:
    source.mkdir()
    data = random.Random(seed)
    for name in (*(f"f{number}" for number in range(FILES)), LAST):
        (source / name).write_bytes(data.randbytes(SIZE))
    return {path.name: path.read_bytes() for path in source.iterdir()}


def lose_power(made: Recovery, disk: Volume) -> None:
    """And come back: mounted, covered, nothing running."""
    running = made.processes()
    cut_power(disk.path)
    made.kill(running)
    mount_again(made, disk)
    made.another_boot()
    made.cover()


def mount_again(made: Recovery, disk: Volume) -> None:
    """Once the kernel has let go of it, which it does a moment after the last process that had it has gone."""
    disk.unmount()
    known = Path("/sys/fs", disk.kind, Path(disk.device).name)
    made.wait(lambda: not known.exists(), "the kernel to let go of the file system")
    disk.mount()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("mechanism", "kind"), [(PRE_ACCESS, "ext4"), (PRE_ACCESS, "xfs"), (FUSE, "ext4")], ids=lambda each: each
)
def test_power_is_lost_while_it_fills(tmp_path: Path, mechanism: str, kind: str, seed: int) -> None:
    """What was synced is there. What was not is, page by page, as it was or as it was written; never anything else."""
    with volume(kind) as disk:
        disk.mount()
        skip_if_impossible(mechanism, disk.path)
        fill_and_lose_power(tmp_path, mechanism, disk, seed, lose_power)


@pytest.mark.parametrize("mechanism", [PRE_ACCESS, FUSE])
def test_power_is_lost_on_btrfs(tmp_path: Path, mechanism: str) -> None:
    """btrfs can't be stopped as the others are. Its disk is a file on xfs: that is cloned in one moment, and the clone
    is what was on the disk when the power went."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("mkfs.btrfs is not installed; see scripts/test-packages")
    with volume("xfs", 1 << 30) as below:
        below.mount()
        image = below.path / "image"
        with image.open("wb") as file:
            file.truncate(300 << 20)
        command("mkfs.btrfs", "-q", image)
        disk = Volume("btrfs", 300 << 20, tmp_path, command("losetup", "--find", "--show", image))
        disk.path.mkdir()
        try:
            disk.mount()
            skip_if_impossible(mechanism, disk.path)
            fill_and_lose_power(tmp_path, mechanism, disk, 1, lambda made, disk: lose_power_on_btrfs(made, disk, image))
        finally:
            disk.unmount()
            command("losetup", "--detach", disk.device)


def lose_power_on_btrfs(made: Recovery, disk: Volume, image: Path) -> None:
    """See lose_power."""
    running = made.processes()
    at_that_moment = image.with_name("clone")
    with image.open("rb") as source, at_that_moment.open("wb") as target:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    made.kill(running)
    disk.unmount()
    command("losetup", "--detach", disk.device)
    made.wait(lambda: not Path("/sys/block", Path(disk.device).name, "loop").exists(), "the loop device to be free")
    disk.device = command("losetup", "--find", "--show", at_that_moment)
    disk.mount()
    made.another_boot()
    made.cover()


def command(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def fill_and_lose_power(
    tmp_path: Path, mechanism: str, disk: Volume, seed: int, lose: Callable[[Recovery, Volume], None]
) -> None:
    old = make(tmp_path / "source", seed)
    chosen = random.Random(seed)
    with recovery(tmp_path / "source", disk.path / "tree", disk.path / "home", mechanism) as made:
        made.begin(hold_back=False, like=Like(read_seconds=0.004, damaged=[LAST]))
        new = {name: bytearray(data) for name, data in old.items()}
        synced = {f"f{number}" for number in range(0, FILES, 3)}
        for _ in range(30):
            name = f"f{chosen.randrange(FILES)}"
            at, data = chosen.randrange(SIZE - 9000), chosen.randbytes(chosen.randrange(1, 9000))
            with (made.dir / name).open("r+b") as file:
                os.pwrite(file.fileno(), data, at)
                if name in synced:
                    os.fsync(file.fileno())
            new[name][at : at + len(data)] = data
        for name in ("f0", "f1"):
            os.truncate(made.dir / name, 40 * BLOCK + 11)
            del new[name][40 * BLOCK + 11 :]
            if name in synced:
                with (made.dir / name).open("r+b") as file:
                    os.fsync(file.fileno())
        made.wait(lambda: made.cold_blocks("f7") < 121, "the background to come this far")
        lose(made, disk)
        assert os.listdir(made.dir) == []
        made.like(Like())
        made.start()
        for name in old:
            found = (made.dir / name).read_bytes()
            if name in synced:
                assert found == new[name], name
            else:
                assert len(found) in (len(old[name]), len(new[name])), name
                assert_pages(name, found, old[name], new[name])
        made.fill()
        for name in synced:
            assert (made.dir / name).read_bytes() == new[name]


def assert_pages(name: str, found: bytes, old: bytes, new: bytearray) -> None:
    """Each page is as it was, or as one of the writes left it: pages that nobody wrote to are as they were."""
    for at in range(0, len(found), PAGE):
        page = found[at : at + PAGE]
        if page not in (old[at : at + PAGE], bytes(new[at : at + PAGE])):
            assert old[at : at + PAGE] != new[at : at + PAGE], f"{name} at {at}: nobody wrote there"
            assert page != bytes(len(page)), f"{name} at {at}: zeros"


@pytest.mark.parametrize("mechanism", [PRE_ACCESS, FUSE])
def test_the_machine_goes_down_and_comes_back(tmp_path: Path, mechanism: str) -> None:
    """In order, with everything synced: what was filled needs no fetching again, what was not is still cold."""
    make(tmp_path / "source", 3)
    with volume("ext4") as disk:
        disk.mount()
        skip_if_impossible(mechanism, disk.path)
        with recovery(tmp_path / "source", disk.path / "tree", disk.path / "home", mechanism) as made:
            made.begin()
            (made.dir / "f2").read_bytes()
            (made.dir / "f3").write_bytes(b"written")
            made.end()
            mount_again(made, disk)
            made.another_boot()
            made.cover()
            assert os.listdir(made.dir) == []
            with pytest.raises(OSError):
                (made.dir / "x").write_bytes(b"nobody writes there")
            setting = zeroing(os.fsencode(disk.path))
            assert int(setting.read_text()) != 0, "it goes with the mount"
            made.start()
            assert int(setting.read_text()) == 0
            fetched = len(made.reads())
            assert (made.dir / "f2").read_bytes() == (tmp_path / "source" / "f2").read_bytes()
            assert (made.dir / "f3").read_bytes() == b"written"
            assert len(made.reads()) == fetched
            assert made.cold_blocks("f4") == 121
            made.fill()
            shutil.copystat(made.dir / "f3", tmp_path / "source" / "f3")
            (tmp_path / "source" / "f3").write_bytes(b"written")
            assert [each for each in made.differences() if "mtime" not in each] == []
