"""Random changes to a tree, of every kind that a file system knows; one seed, one history."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
from pathlib import Path

from engine.tree.sparse import make_hole

_libc = ctypes.CDLL(None, use_errno=True)


class Changes:
    """Makes changes below `tree`; `outside` is a directory on the same file system that is not protected."""

    def __init__(self, tree: Path, outside: Path, seed: int) -> None:
        self.tree, self.outside = tree, outside
        self.random = random.Random(seed)
        outside.mkdir(exist_ok=True)

    def some(self, kind: str) -> Path | None:
        found = [self.tree] if kind == "d" else []
        for directory, names, files in os.walk(self.tree):
            found += [Path(directory, name) for name in (names if kind == "d" else files)]
        found = [path for path in found if not path.is_symlink() and (kind == "d" or path.is_file())]
        return self.random.choice(found) if found else None

    def fresh(self) -> Path:
        parent = self.some("d")
        assert parent is not None
        return parent / self.random.choice(["a", "b", "c", "dé", "e", "f", "g", os.fsdecode(b"\xff")])

    def step(self) -> str:
        """One change; its name. Some come to nothing."""
        name = self.random.choice(NAMES)
        with contextlib.suppress(OSError, shutil.Error):
            getattr(self, name)()
        return name

    def create(self) -> None:
        path = self.fresh()
        path.write_bytes(self.random.randbytes(self.random.choice([0, 1, 100, 8192, 8193, 50_000, 300_000])))

    def replace(self) -> None:
        path = self.some("f")
        if path:
            new = path.with_name(path.name + "~")
            new.write_bytes(self.random.randbytes(self.random.randrange(20_000)))
            new.rename(path)

    def patch(self) -> None:
        path = self.some("f")
        if path:
            with path.open("r+b") as file:
                for _ in range(self.random.randrange(1, 4)):
                    file.seek(self.random.randrange(path.stat().st_size + 1000))
                    file.write(self.random.randbytes(self.random.randrange(1, 3000)))

    def truncate(self) -> None:
        path = self.some("f")
        if path:
            os.truncate(path, self.random.choice([0, 1, 8192, 5000, 100_000, 5_000_000]))

    def punch(self) -> None:
        path = self.some("f")
        if path:
            with path.open("r+b") as file:
                make_hole(file.fileno(), self.random.randrange(0, 50_000) & ~4095, 16384)

    def mkdir(self) -> None:
        self.fresh().mkdir()

    def makedirs(self) -> None:
        path = self.fresh() / "x" / "y"
        path.mkdir(parents=True)
        (path / "z").write_bytes(b"deep")

    def unlink(self) -> None:
        path = self.some("f")
        if path:
            path.unlink()

    def rmtree(self) -> None:
        path = self.some("d")
        if path and path != self.tree:
            shutil.rmtree(path)

    def rename(self) -> None:
        path = self.some(self.random.choice("fd"))
        if path and path != self.tree:
            path.rename(self.fresh())

    def exchange(self) -> None:
        a, b = self.some(self.random.choice("fd")), self.some(self.random.choice("fd"))
        if a and b and self.tree not in (a, b):
            _libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2)

    def recreate(self) -> None:
        path = self.some("d")
        if path and path != self.tree:
            shutil.rmtree(path)
            path.mkdir()
            (path / "a").write_bytes(b"made anew")
            (path / "x").mkdir()

    def link(self) -> None:
        path = self.some("f")
        if path:
            os.link(path, self.fresh())

    def symlink(self) -> None:
        os.symlink(self.random.choice(["a", "../b", "/nowhere"]), self.fresh())

    def relink(self) -> None:
        path = self.fresh()
        if path.is_symlink():
            path.unlink()
            os.symlink("other", path)

    def chmod(self) -> None:
        path = self.some(self.random.choice("fd"))
        if path:
            path.chmod(self.random.choice([0o700, 0o755, 0o777]))

    def utime(self) -> None:
        path = self.some(self.random.choice("fd"))
        if path:
            os.utime(path, ns=(1, self.random.randrange(10**18)))

    def xattr(self) -> None:
        path = self.some(self.random.choice("fd"))
        if path:
            os.setxattr(path, "user.x", self.random.randbytes(3))

    def sly(self) -> None:
        """A change of content that keeps size and mtime."""
        path = self.some("f")
        if path and path.stat().st_size:
            status = path.stat()
            with path.open("r+b") as file:
                file.write(self.random.randbytes(1))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def move_out(self) -> None:
        path = self.some(self.random.choice("fd"))
        if path and path != self.tree:
            path.rename(self.outside / self.random.choice("abc"))

    def change_outside(self) -> None:
        for directory, _, files in os.walk(self.outside):
            for path in [Path(directory, name) for name in files]:
                if path.is_file():
                    path.write_bytes(self.random.randbytes(100))

    def move_in(self) -> None:
        found = sorted(self.outside.iterdir())
        if found:
            self.random.choice(found).rename(self.fresh())

    def fifo(self) -> None:
        os.mkfifo(self.fresh().with_name("fifo"))  # a name that nobody writes to


NAMES = [
    name
    for name, value in vars(Changes).items()
    if callable(value) and name not in ("__init__", "some", "fresh", "step")
]
NAMES += ["create", "create", "patch", "patch", "mkdir", "rename"]
