"""A store that fails on demand: the next call of a method, or the Nth call of all, once or from then on.

For tests of what sits above a store. Without faults it is the store that it wraps.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.store.base import Data, Item, Store, Upload

METHODS = ("put", "open_put", "write", "commit", "get", "get_range", "size", "list", "delete", "local_path")

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call. Build it with `before`, `after`, `changed`; `PASS` lets a call through."""

    error: BaseException | None = None
    happens: bool = True
    change: Callable[[Any], Any] | None = None


PASS = Fault()


def before(error: BaseException) -> Fault:
    """Raise, and do nothing."""
    return Fault(error, happens=False)


def after(error: BaseException) -> Fault:
    """Do it, and raise: the answer got lost."""
    return Fault(error)


def changed(change: Callable[[Any], Any]) -> Fault:
    """Give change(result) for the result. The result of `list` is a list of Items."""
    return Fault(change=change)


def truncated(count: int = 1) -> Fault:
    """Lose the last `count` bytes of what a get returns, or as many items of a listing."""
    return changed(lambda content: content[: max(0, len(content) - count)])


def flipped(at: int = 0) -> Fault:
    """Flip the lowest bit of byte `at` of what a get returns."""
    return changed(lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


class FaultyStore:
    """A Store; see the module. `calls` lists (method, key or prefix) in the order in which they began."""

    def __init__(self, store: Store) -> None:
        self.calls: list[tuple[str, str]] = []
        self._store = store
        self._queues: dict[str, deque[Fault]] = defaultdict(deque)
        self._numbered: tuple[int, Fault, bool] | None = None
        self._lock = threading.Lock()

    def queue(self, method: str, *faults: Fault) -> None:
        """The next calls of `method` meet these, one each; "write" and "commit" are those of uploads."""
        if method not in METHODS:
            raise ValueError(f"no method {method!r}: one of {', '.join(METHODS)}")
        with self._lock:
            self._queues[method].extend(faults)

    def at_call(self, number: int, fault: Fault, *, lasting: bool = False) -> None:
        """The call `number` from now, counted from 1 over all methods, meets `fault`; all after it too if lasting."""
        with self._lock:
            self._numbered = (len(self.calls) + number, fault, lasting)

    def heal(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._queues.clear()
            self._numbered = None

    def put(self, key: str, data: Data) -> None:
        self.run("put", key, lambda: self._store.put(key, data))

    def open_put(self, key: str) -> Upload:
        return self.run("open_put", key, lambda: _FaultyUpload(self, key, self._store.open_put(key)))

    def get(self, key: str) -> bytes:
        return self.run("get", key, lambda: self._store.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.run("get_range", key, lambda: self._store.get_range(key, offset, length))

    def size(self, key: str) -> int:
        return self.run("size", key, lambda: self._store.size(key))

    def list(self, prefix: str, after: str = "") -> Iterator[Item]:
        return iter(self.run("list", prefix, lambda: [*self._store.list(prefix, after)]))

    def delete(self, *keys: str) -> None:
        self.run("delete", " ".join(keys), lambda: self._store.delete(*keys))

    def local_path(self, key: str) -> Path | None:
        return self.run("local_path", key, lambda: self._store.local_path(key))

    def run(self, method: str, key: str, act: Callable[[], _Result]) -> _Result:
        """One call, with what it meets."""
        fault = self._meet(method, key)
        if not fault.happens:
            assert fault.error is not None
            raise fault.error
        result = act()
        if fault.error is not None:
            raise fault.error
        return fault.change(result) if fault.change is not None else result

    def _meet(self, method: str, key: str) -> Fault:
        with self._lock:
            self.calls.append((method, key))
            if self._numbered is not None:
                number, fault, lasting = self._numbered
                if len(self.calls) == number or (lasting and len(self.calls) > number):
                    return fault
            queue = self._queues[method]
            return queue.popleft() if queue else PASS


class _FaultyUpload(Upload):
    def __init__(self, faults: FaultyStore, key: str, upload: Upload) -> None:
        self._faults = faults
        self._key = key
        self._upload = upload

    def write(self, data: Data) -> None:
        self._faults.run("write", self._key, lambda: self._upload.write(data))

    def commit(self) -> None:
        self._faults.run("commit", self._key, self._upload.commit)

    def abort(self) -> None:
        self._upload.abort()
