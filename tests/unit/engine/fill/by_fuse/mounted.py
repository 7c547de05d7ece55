"""A directory seen through our FUSE mount, served by a thread of the test or by a process that may be killed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from engine.fill.base import ColdFile, Place, Recipe
from engine.fill.by_fuse import mechanism

CAN_MOUNT = os.geteuid() == 0 and os.path.exists("/dev/fuse")


class AllWhole:
    """Nothing is cold."""

    def number_of(self, dev: int, ino: int) -> int | None:
        return None

    def ready(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> bool:
        return True

    def ensure(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> None:
        raise AssertionError("nothing is cold")

    def truncated(self, number: int, size: int) -> None:
        raise AssertionError("nothing is cold")

    def window(self, number: int) -> AbstractContextManager[object]:
        return threading.RLock()

    def file(self, number: int) -> ColdFile:
        raise IndexError(number)

    def files(self) -> Sequence[ColdFile]:
        return []

    def is_whole(self, number: int) -> bool:
        return True


def recipe_of(directory: Path) -> Recipe:
    values = dict.fromkeys(Recipe.__dataclass_fields__, "")
    return Recipe(
        **{
            **values,
            "id": "r1",
            "dir": str(directory),
            "hidden": str(directory / ".bcs-r1"),
            "supply": {},
        }
    )  # type: ignore[arg-type]


def prepare(base: Path) -> tuple[Place, Recipe]:
    place = Place(base / "place")
    place.mechanism.mkdir(parents=True)
    directory = base / "mnt"
    (directory / ".bcs-r1").mkdir(parents=True, mode=0o700)
    return place, recipe_of(directory)


@contextmanager
def mounted(base: Path, passes: bool = True) -> Iterator[tuple[Path, mechanism.BehindFuse]]:
    """The mount's directory, served by threads of this process over what is in `.bcs-r1` of it."""
    place, recipe = prepare(base)
    fd = mechanism.hold(place, recipe)
    serving = mechanism.BehindFuse(place, recipe, fd, AllWhole(), passes)
    try:
        serving.serve()
        yield Path(recipe.dir), serving
    finally:
        mechanism.let_go(place, recipe, fd)


def serve_forever(base: Path, fd: int, passes: bool) -> None:
    place = Place(base / "place")
    serving = mechanism.BehindFuse(place, recipe_of(base / "mnt"), fd, AllWhole(), passes)
    serving.serve()
    threading.Event().wait()


if __name__ == "__main__":
    serve_forever(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "passes")
