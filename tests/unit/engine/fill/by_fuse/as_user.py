"""Run as somebody who is not root: mounts through fusermount3, works in the mount, dies, goes on, takes it away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine.fill.by_fuse import mechanism
from tests.unit.engine.fill.by_fuse import mounted as serving
from tests.unit.engine.fill.by_fuse.mounted import AllWhole, prepare


def work(directory: Path) -> None:
    (directory / "file").write_text("mine")
    fd = os.open(directory / "locked", os.O_CREAT | os.O_RDWR, 0o400)
    os.write(fd, b"locked")
    os.close(fd)
    (directory / "d").mkdir()
    (directory / "file").rename(directory / "d" / "file")
    os.link(directory / "d" / "file", directory / "link")
    os.symlink("d/file", directory / "symlink")
    os.setxattr(directory / "link", "user.x", b"y")
    status = (directory / "link").stat()
    assert (status.st_uid, status.st_gid, status.st_nlink) == (os.getuid(), os.getgid(), 2)
    assert (directory / "symlink").read_text() == "mine"
    assert sorted(os.listdir(directory)) == ["d", "link", "locked", "symlink"]


def main(base: Path) -> None:
    place, recipe = prepare(base)
    directory = Path(recipe.dir)
    assert mechanism.why_not(os.fsencode(directory)) == ""
    fd = mechanism.hold(place, recipe)
    server = subprocess.Popen([sys.executable, serving.__file__, str(base), str(fd), "passes"], pass_fds=[fd])
    try:
        work(directory)
        held = os.open(directory / "link", os.O_RDWR)
        os.unlink(directory / "link")
        server.kill()
        server.wait()
        mechanism.orphaned(place, recipe, fd)
        server = subprocess.Popen([sys.executable, serving.__file__, str(base), str(fd), "passes"], pass_fds=[fd])
        assert os.pwrite(held, b"M", 0) == 1
        assert (directory / "d" / "file").read_text() == "Mine"
        os.close(held)
    finally:
        server.kill()
        server.wait()
    last = mechanism.BehindFuse(place, recipe, fd, AllWhole())
    last.serve()
    assert last.finish() == []
    mechanism.let_go(place, recipe, fd)
    assert sorted(os.listdir(directory)) == ["d", "locked", "symlink"]
    assert (directory / "symlink").read_text() == "Mine"
    print("all is well")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
