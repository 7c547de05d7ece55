"""A seed becomes a list of file-system operations: the same list, always. Nothing is touched here.

A model of the names keeps the operations sensible: most of them succeed. Paths are relative to a base directory that
holds `tree`, which is protected, and `outside`, which isn't. Each worker has a part of both to itself, so what a path
passed through can be told without asking who else was at it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

EXCLUDED = ("*.tmp", "cache/")
"""What the source's policy excludes; `visible` says the same in other words."""

NAMES = ["a", "b", "c", "d", "dé", "e", "f", "g", "h", "two words", "new\nline", os.fsdecode(b"\xff"), "n" * 255]
SPECIAL = ["x.tmp", "y.tmp", "cache"]
SIZES = [0, 1, 100, 4096, 8191, 8192, 8193, 20_000, 50_000, 200_000]
MODES = [0o600, 0o644, 0o700, 0o755, 0o777, 0o4755, 0o1777]
FILES_MAX, DIRECTORIES_MAX, DEPTH_MAX = 80, 20, 6
CHANGES_A_FILE = 12


@dataclass(frozen=True, slots=True)
class Operation:
    """One act on `path` (and `other`). `number` is a mode, an owner, a time or the seed of the bytes written."""

    name: str
    path: str
    other: str = ""
    offset: int = 0
    length: int = 0
    number: int = 0


def operations(
    seed: int,
    count: int,
    worker: int = 0,
    large_bytes: int = 5 << 20,
    links_out: bool = True,
) -> list[Operation]:
    """`count` operations of a worker. `large_bytes` is the least size of its large file, 0 for none.

    `links_out`: hard links between what is protected and what isn't, which only a mark on the whole file system sees.
    """
    return _Generator(random.Random(f"{seed}/{worker}"), worker, large_bytes, links_out).make(count)


def visible(path: str, is_directory: bool) -> bool:
    """Whether a path below `tree` is protected."""
    parts = path.split("/")
    if parts[0] != "tree" or any(part.endswith(".tmp") for part in parts):
        return False
    return "cache" not in parts[:-1] and not (is_directory and parts[-1] == "cache")


@dataclass
class _Generator:
    random: random.Random
    worker: int
    large_bytes: int
    links_out: bool
    kinds: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    made: list[Operation] = field(default_factory=list)

    def make(self, count: int) -> list[Operation]:
        # Without links to the outside: either no links at all, or nothing that moves in or out.
        self.apart = None if self.links_out else self.random.random() < 0.5
        self.top, self.outside = f"tree/w{self.worker}", f"outside/w{self.worker}"
        self.large = f"{self.top}/large" if self.large_bytes else ""
        for path in (self.top, self.outside):
            self._mkdir(path)
        if self.large:
            self._create(self.large, self.large_bytes)
        choices: list[Callable[[], None]] = [getattr(self, name) for name, weight in WEIGHTS for _ in range(weight)]
        while len(self.made) < count:
            if len(self._of("f")) > FILES_MAX or len(self._of("d")) > DIRECTORIES_MAX:
                self._remove(self._some("d") or self._some("f"))
            self.random.choice(choices)()
        return self.made[:count]

    # Choosing.

    def _of(self, kinds: str, top: bool = False) -> list[str]:
        least = 1 if top else 2
        return [path for path, kind in self.kinds.items() if kind in kinds and path.count("/") >= least]

    def _some(self, kinds: str) -> str:
        found = [path for path in self._of(kinds) if path != self.large]
        return self.random.choice(found) if found else ""

    def _file(self) -> str:
        return self._some("f")

    def _small_directory(self) -> str:
        """One of a few that has little below, so that trees grow as well as vanish."""
        found = [self._some("d") for _ in range(4)]
        return min(found, key=lambda path: len(self._below(path)))

    def _fresh(self) -> str:
        """A path for something new; it may be there already."""
        parents = [path for path in self._of("d", top=True) if path.count("/") < DEPTH_MAX]
        parent = self.random.choice(parents)
        names = NAMES + (SPECIAL if self.random.random() < 0.3 else [])
        return f"{parent}/{self.random.choice(names)}"

    def _seed(self) -> int:
        return self.random.randrange(1 << 30)

    def _add(self, name: str, path: str, other: str = "", offset: int = 0, length: int = 0, number: int = 0) -> None:
        self.made.append(Operation(name, path, other, offset, length, number))

    # What each does to the model.

    def _mkdir(self, path: str) -> None:
        if path not in self.kinds:
            self._add("mkdir", path)
            self.kinds[path] = "d"

    def _create(self, path: str, length: int) -> None:
        self._add("create", path, length=length, number=self._seed())
        if path not in self.kinds:
            self.kinds[path], self.sizes[path] = "f", length

    def _unlink(self, path: str) -> None:
        self._add("unlink", path)
        self.kinds.pop(path, None)
        self.sizes.pop(path, None)

    def _below(self, path: str) -> list[str]:
        return [each for each in self.kinds if each.startswith(path + "/")]

    def _remove(self, path: str) -> None:
        for each in [*sorted(self._below(path), reverse=True), path]:
            if self.kinds[each] == "d":
                self._add("rmdir", each)
                del self.kinds[each]
            else:
                self._unlink(each)

    def _crosses(self, path: str, other: str) -> bool:
        """Whether what is protected and what isn't would meet, though they are to be kept apart."""
        kinds = {self.kinds.get(each) == "d" for each in (path, other)}
        return bool(self.apart) and any(visible(path, kind) != visible(other, kind) for kind in kinds)

    def _rename(self, path: str, other: str) -> None:
        if self._crosses(path, other):
            return
        self._add("rename", path, other)
        if other == path or other.startswith(path + "/"):
            return
        there, mine = self.kinds.get(other), self.kinds[path]
        if there and ((there == "d") != (mine == "d") or (there == "d" and self._below(other))):
            return
        self.kinds.pop(other, None)
        self._move(path, other)

    def _move(self, path: str, other: str) -> None:
        for each in [path, *self._below(path)]:
            new = other + each[len(path) :]
            self.kinds[new] = self.kinds.pop(each)
            if each in self.sizes:
                self.sizes[new] = self.sizes.pop(each)

    # What may be chosen.

    def create(self) -> None:
        self._create(self._fresh(), self.random.choice(SIZES))

    def replace(self) -> None:
        if path := self._file():
            new = path.rpartition("/")[0] + "/" + self.random.choice(["~new", "new.tmp"])
            self._create(new, self.random.choice(SIZES))
            self._rename(new, path)

    def write(self) -> None:
        if path := self._file():
            for _ in range(self.random.randrange(1, 4)):
                self._write(path)

    def _write(self, path: str) -> None:
        size = self.sizes[path]
        offset, length = self.random.randrange(max(size, 1)), self.random.choice([1, 10, 100, 3000, 8192])
        self._add("write", path, offset=offset, length=length, number=self._seed())
        self.sizes[path] = max(size, offset + length)

    def append(self) -> None:
        if path := self._file():
            self._append(path, self.random.choice([1, 100, 5000, 20_000]))

    def _append(self, path: str, length: int) -> None:
        self._add("write", path, offset=self.sizes[path], length=length, number=self._seed())
        self.sizes[path] += length

    def grow_inside(self) -> None:
        """A file that grows and changes inside between two looks."""
        if path := self._file():
            self._write(path)
            self._append(path, self.random.choice([1, 5000, 20_000]))

    def grow_sparse(self) -> None:
        if path := self._file():
            length = self.sizes[path] + self.random.choice([5000, 100_000, 1_000_000])
            self._add("truncate", path, length=min(length, 3_000_000))
            self.sizes[path] = min(length, 3_000_000)

    def truncate(self) -> None:
        if path := self._file():
            length = self.random.choice([0, 1, 5000, 8192, self.sizes[path] // 2])
            self._add("truncate", path, length=length)
            self.sizes[path] = length

    def punch(self) -> None:
        if path := self._file():
            self._add("punch", path, offset=self.random.randrange(50_000) & ~4095, length=16384)

    def mmap(self) -> None:
        if path := self._file():
            offset = self.random.randrange(max(self.sizes[path], 1))
            length, number = self.random.choice([1, 100, 5000]), self._seed()
            # Into pages that are dirty already, mostly; some are written back before.
            self._add("mmap", path, "" if number % 3 else "clean", offset, length, number)

    def large_change(self) -> None:
        """The large file: in-place changes, and growth at once."""
        if not self.large or self.large not in self.kinds:
            return
        for _ in range(self.random.randrange(1, 3)):
            self._write(self.large)
        if self.random.random() < 0.5:
            self._append(self.large, self.random.choice([1, 8192, 300_000]))
        elif self.sizes[self.large] > self.large_bytes * 2:
            self._add("truncate", self.large, length=self.large_bytes)
            self.sizes[self.large] = self.large_bytes

    def large_moved(self) -> None:
        """The large file goes elsewhere and comes back: none of its bytes may be taken for changed, or lost."""
        if self.large and self.random.random() < 0.3:
            elsewhere = self.random.choice([f"{self.top}/moved", f"{self.outside}/moved", f"{self.top}/moved.tmp"])
            self._rename(self.large, elsewhere)
            self._rename(elsewhere, self.large)

    def tmpfile(self) -> None:
        path, length = self._fresh(), self.random.choice(SIZES)
        self._add("tmpfile", path, length=length, number=self._seed())
        if path not in self.kinds:
            self.kinds[path], self.sizes[path] = "f", length

    def copy(self) -> None:
        if path := self._file():
            other = self._fresh()
            self._add("copy", path, other)
            if other not in self.kinds:
                self.kinds[other], self.sizes[other] = "f", self.sizes[path]

    def link(self) -> None:
        if path := self._file():
            other = self._fresh()
            if self.apart is False or self._crosses(path, other):
                return
            self._add("link", path, other)
            if other not in self.kinds:
                self.kinds[other], self.sizes[other] = "f", self.sizes[path]

    def symlink(self) -> None:
        """A link that leads nowhere: acts through one would change what its name does not say."""
        path = self._fresh()
        self._add("symlink", path, self.random.choice(["nowhere", "../not here", "/nowhere", "long" * 30]))
        self.kinds.setdefault(path, "l")

    def fifo(self) -> None:
        path = self._fresh()
        self._add("fifo", path)
        self.kinds.setdefault(path, "p")

    def unlink(self) -> None:
        if path := self._some("flp"):
            self._unlink(path)

    def mkdir(self) -> None:
        self._mkdir(self._fresh())

    def make_directories(self) -> None:
        """mkdir -p, and a file at the end before anyone could watch the new directories."""
        path = self._fresh()
        if path.count("/") < DEPTH_MAX - 2 and path not in self.kinds:
            for each in (path, path + "/x", path + "/x/y"):
                self._mkdir(each)
            self._create(path + "/x/y/z", 100)

    def remove_tree(self) -> None:
        if path := self._small_directory():
            self._remove(path)

    def rename(self) -> None:
        if path := self._some("fffdlp"):
            self._rename(path, self._fresh())

    def rename_directory(self) -> None:
        if path := self._some("d"):
            self._rename(path, self._fresh())

    def exchange(self) -> None:
        path, other = self._some("fd"), self._some("fd")
        if not path or not other or self._crosses(path, other):
            return
        if not (path + "/").startswith(other + "/") and not (other + "/").startswith(path + "/"):
            self._add("exchange", path, other)
            self._move(path, "between")
            self._move(other, path)
            self._move("between", other)

    def file_becomes_directory(self) -> None:
        if path := self._file():
            self._unlink(path)
            self._mkdir(path)
            self._create(path + "/a", 50)

    def directory_becomes_file(self) -> None:
        if path := self._small_directory():
            self._remove(path)
            self._create(path, 3000)

    def directory_anew(self) -> None:
        """A directory removed and made again, which may get the number of the one before it."""
        if path := self._small_directory():
            self._remove(path)
            self._mkdir(path)
            self._create(path + "/a", 9)
            self._mkdir(path + "/x")

    def sly(self) -> None:
        """A change that leaves size and mtime as they were."""
        if (path := self._file()) and self.sizes[path]:
            moment = self.random.randrange(10**18)
            self._add("utimens", path, number=moment)
            self._add("write", path, offset=0, length=1, number=self._seed())
            self._add("utimens", path, number=moment)

    def chmod(self) -> None:
        if path := self._some("fd"):
            self._add("chmod", path, number=self.random.choice(MODES))

    def chown(self) -> None:
        if path := self._some("fdlp"):
            self._add("chown", path, number=self.random.randrange(0, 5))

    def utimens(self) -> None:
        if path := self._some("fdl"):
            self._add("utimens", path, number=self.random.randrange(10**18))

    def setxattr(self) -> None:
        if path := self._some("fd"):
            length = self.random.choice([1, 10, 200])
            self._add("setxattr", path, self.random.choice(["user.a", "user.b"]), length=length, number=self._seed())

    def removexattr(self) -> None:
        if path := self._some("fd"):
            self._add("removexattr", path, self.random.choice(["user.a", "user.b"]))


WEIGHTS = [
    ("create", 12), ("replace", 6), ("write", 12), ("append", 5), ("grow_inside", 4), ("grow_sparse", 2),
    ("truncate", 4), ("punch", 2), ("mmap", 4), ("large_change", 1), ("large_moved", 1), ("tmpfile", 2), ("copy", 3),
    ("link", 4), ("symlink", 2), ("fifo", 1), ("unlink", 5), ("mkdir", 3), ("make_directories", 2), ("remove_tree", 1),
    ("rename", 8), ("rename_directory", 3), ("exchange", 3), ("file_becomes_directory", 1),
    ("directory_becomes_file", 1), ("directory_anew", 1), ("sly", 3), ("chmod", 2), ("chown", 2), ("utimens", 2),
    ("setxattr", 2), ("removexattr", 1),
]  # fmt: skip
