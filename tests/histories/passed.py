"""The states that paths passed through, with times: noted by the process that changes them, right after each change."""

from __future__ import annotations

import os
import stat as st
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from tests.histories.digest import State, observe
from tests.histories.operations import Operation, visible
from tests.histories.perform import perform

ALWAYS = -(1 << 62)
_ATTRIBUTES_ONLY = ("chmod", "chown", "utimens", "setxattr", "removexattr", "link")
OF_TREES = ("rename", "exchange")


@dataclass(slots=True)
class Passed:
    """One path's states, each with the times between which the change to it was made (microseconds, wall clock).

    What changes within one operation, such as the empty file that a new one is at first, is not among them.
    """

    began: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    states: list[State | None] = field(default_factory=list)
    acts: list[Operation] = field(default_factory=list)

    def add(self, began: int, ended: int, state: State | None, act: Operation) -> None:
        self.acts.append(act)
        self.began.append(began)
        self.ended.append(ended)
        self.states.append(state)

    def moved(self, first: int, last: int) -> bool:
        """Whether what is here was renamed, to or from, or came or went at some time from `first` to `last`."""
        for at, (began, ended, act) in enumerate(zip(self.began, self.ended, self.acts, strict=True)):
            before = self.states[at - 1] if at else None
            if began <= last and ended >= first and (act.name in OF_TREES or None in (self.states[at], before)):
                return True
        return False

    def told(self, last: int, count: int = 6) -> list[str]:
        """The last changes up to a time, to be read."""
        end = bisect_right(self.began, last)
        return [
            f"{self.began[at]}-{self.ended[at]} {self.acts[at]} -> {self.states[at]}"
            for at in range(max(end - count, 0), min(end + 2, len(self.began)))
        ]

    def within(self, first: int, last: int) -> list[State | None]:
        """Those that were there at some time from `first` to `last`, in order; never empty."""
        end = bisect_right(self.began, last)
        begin = bisect_left(self.ended, first) - 1
        found = self.states[max(begin, 0) : end]
        return found if begin >= 0 else [None, *found]


class Recorder:
    """Performs a worker's operations, one after the other, and notes what each path passes through."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.passed: dict[str, Passed] = {}
        self.failed = 0
        self._now: dict[str, State] = {}  # of all paths, invisible ones too
        self._shown: dict[str, State] = {}
        self._inode: dict[str, int] = {}
        self._names: dict[int, set[str]] = {}

    def act(self, one: Operation) -> None:
        """Perform it and look at all that it may have changed. One that can't be done changes nothing."""
        began = time.time_ns() // 1000
        try:
            perform(self.base, one)
        except OSError:
            self.failed += 1
        ended = time.time_ns() // 1000
        paths = {one.path}
        if one.name in ("rename", "exchange", "link", "copy"):
            paths.add(one.other)
        if one.name in OF_TREES:
            paths |= self._below(one.path) | self._below(one.other)
        paths |= {path.rpartition("/")[0] for path in paths}
        for path in list(paths):
            paths |= self._names.get(self._inode.get(path, -1), set())
        changed: dict[str, State | None] = {}
        for path in sorted(path for path in paths if path.count("/") >= 1):
            changed[path] = self._look(path, one.name in _ATTRIBUTES_ONLY)
        for path, state in changed.items():
            shown = state if state is not None and visible(path, state.type == "d") else None
            if shown != self._shown.get(path):
                self._note(path, began, ended, shown, one)

    def _below(self, path: str) -> set[str]:
        found = {each for each in self._now if each.startswith(path + "/")}
        for directory, names, files in os.walk(f"{self.base}/{path}"):
            short = directory[len(self.base) + 1 :]
            found |= {f"{short}/{name}" for name in names + files}
        return found

    def _look(self, path: str, content_known: bool) -> State | None:
        full = f"{self.base}/{path}"
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            self._now.pop(path, None)
            self._names.get(self._inode.pop(path, -1), set()).discard(path)
            return None
        old = self._now.get(path) if content_known and self._inode.get(path) == status.st_ino else None
        state = observe(full, status, old)
        assert state is not None, path
        self._now[path] = state
        if self._inode.get(path) != status.st_ino:
            self._names.get(self._inode.get(path, -1), set()).discard(path)
            self._inode[path] = status.st_ino
            if not st.S_ISDIR(status.st_mode):
                self._names.setdefault(status.st_ino, set()).add(path)
        return state

    def _note(self, path: str, began: int, ended: int, state: State | None, act: Operation) -> None:
        if state is None:
            self._shown.pop(path, None)
        else:
            self._shown[path] = state
        self.passed.setdefault(path, Passed()).add(began, ended, state, act)

    @property
    def shown(self) -> dict[str, State]:
        """What is there now, as far as it is protected."""
        return dict(self._shown)
