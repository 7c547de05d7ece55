"""What was made beside takes its places: each name in one step, so that it leads to the whole old or the whole new.

It may be done twice: who is killed goes on with what is beside yet. What stands below the target is reached without
following a link, for others may rename things there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.agent.restore.landing import Landing
from engine.agent.restore.receive import Done, read_nodes
from engine.env import randomness
from engine.model.errors import BcsError, Failed
from engine.model.events import ROOT_ID
from engine.plan.restore import Made
from engine.plan.standing import Standing, ways
from engine.tree.apply import Shortfall, Wanted, finish
from engine.tree.beneath import Beneath
from engine.tree.copy import copy_tree
from engine.tree.exchange import rename_new
from engine.tree.replacing import aside_name
from engine.wire.batch import Batch

if TYPE_CHECKING:
    from engine.agent.restore.onto import Listed


class Placing:
    """Puts what `staged` holds into the directory `real`, which `held` reaches below `place`."""

    def __init__(self, place: Beneath, held: bytes, staged: Landing, real: bytes, done: Done, owners: bool) -> None:
        self.kept_aside: list[str] = []
        self._place, self._held, self._staged, self._real = place, held, staged, real
        self._done, self._owners = done, owners
        self._missing = {path for path, _ in done.failures}

    def put(self, listed: Listed, standing: Standing, left_out: Set[int], differing: Set[bytes], aside: str) -> None:
        """Everything that is whole; `left_out` is there already. With `aside`, the name of the restore, what is
        replaced keeps that in its own."""
        self._missing |= differing
        for conflict in standing.conflicts:
            self._attempt(conflict.path, lambda path=conflict.path: self._away(path, aside))  # type: ignore[misc]
        self._place.forget()
        for path in ways(listed.plan):
            if path not in standing.directories:
                self._attempt(path, lambda path=path: self._directory(path))  # type: ignore[misc]
        self._place.forget()
        for made in (*listed.plan.files, *listed.plan.others):
            for name in (made.target, *made.links):
                stays = made.inode.file_id in left_out and (name == made.target or name in standing.settled)
                if not stays:
                    self._attempt(name, lambda made=made, name=name: self._name(made, name, aside))  # type: ignore[misc]

    def finish(self, listed: Listed, left_out: Set[int], batches: Iterable[Batch]) -> None:
        """Attributes of what was there already, and of directories, deepest first."""
        for made in (*listed.plan.files, *listed.plan.others):
            if made.inode.file_id in left_out:
                self._attempt(made.target, lambda made=made: self._finish(made.target, made.inode))  # type: ignore[misc]
        for batch in batches:
            for node in read_nodes("finished", batch, {}).values():
                path, of_node = listed.directories.get(node.file_id), node.attributes
                if path is not None and node.file_id != ROOT_ID and of_node is not None:
                    self._attempt(path, lambda path=path, of_node=of_node: self._finish(path, of_node))  # type: ignore[misc]

    def _attempt(self, path: bytes, act: Callable[[], None]) -> None:
        """Do it, unless something is wrong with that path already. What fails leaves what stands there."""
        named = self._named(path)
        if named in self._missing:
            return
        try:
            act()
        except (BcsError, OSError) as error:
            why = error.message if isinstance(error, BcsError) else os.strerror(error.errno or 0)
            self._done.failures.append((named, why))
            self._missing.add(named)

    def _named(self, path: bytes) -> bytes:
        return self._staged.path + path.removeprefix(self._real)

    def _at(self, path: bytes) -> bytes:
        return self._place.held(self._held + path.removeprefix(self._real))

    def _beside(self, path: bytes) -> bytes:
        return self._staged.held + path.removeprefix(self._real)

    def _away(self, path: bytes, aside: str) -> None:
        """What is of another type than what belongs there gets another name."""
        if not aside:
            raise Failed("something of another type stands there by now")
        kept = aside_name(path, aside)
        rename_new(self._at(path), self._at(kept))
        self.kept_aside.append(os.fsdecode(self._named(kept)))

    def _directory(self, path: bytes) -> None:
        beside = self._beside(path)
        if not os.path.isdir(beside):
            return  # it moved with the one above it, or in an earlier run
        try:
            rename_new(beside, self._at(path))
        except FileExistsError:
            return  # made by somebody meanwhile: what is to be in it is put there name by name
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(beside, path)

    def _name(self, made: Made, name: bytes, aside: str) -> None:
        beside, at = self._beside(name), self._at(name)
        if not os.path.lexists(beside):
            if os.path.lexists(at) and not self._is_further(made, name):
                return  # it moved with its directory, or in an earlier run
            beside = self._beside(made.target) if os.path.lexists(self._beside(made.target)) else self._at(made.target)
            self._link(beside, name, aside)
            return
        if aside:
            self._keep(name, aside)
        try:
            os.rename(beside, at)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if name != made.target:
                self._link(self._at(made.target), name, "")
            else:
                self._copy(beside, name)

    def _is_further(self, made: Made, name: bytes) -> bool:
        """Whether a name should lead to a file that is there already, and leads elsewhere."""
        if name == made.target:
            return False
        try:
            one, other = (os.lstat(self._at(path)) for path in (made.target, name))
        except FileNotFoundError:
            return False
        return (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino)

    def _link(self, existing: bytes, name: bytes, aside: str) -> None:
        if aside and os.path.lexists(self._at(name)):
            self._keep(name, aside)
        new = self._new_beside(name)
        os.link(existing, new, follow_symlinks=False)
        os.rename(new, self._at(name))

    def _keep(self, name: bytes, aside: str) -> None:
        kept = aside_name(name, aside)
        with suppress(FileExistsError):  # kept by a run before this one
            try:
                os.link(self._at(name), self._at(kept), follow_symlinks=False)
            except FileNotFoundError:
                return
        self.kept_aside.append(os.fsdecode(self._named(kept)))

    def _copy(self, beside: bytes, path: bytes) -> None:
        """On another file system than the target's a copy takes the place."""
        new = self._new_beside(path)
        missing = copy_tree(beside, new, self._owners)
        self._done.shortfalls += [str(Shortfall(self._named(path), one.what, one.errno)) for one in missing]
        os.rename(new, self._at(path))

    def _new_beside(self, path: bytes) -> bytes:
        return self._at(os.path.join(os.path.dirname(path), b".bcs-" + randomness.token_hex(8).encode()))

    def _finish(self, path: bytes, wanted: Wanted) -> None:
        missing = finish(self._at(path), wanted, self._owners)
        told = (str(Shortfall(self._named(path), one.what, one.errno)) for one in missing)
        self._done.shortfalls += [text for text in told if text not in self._done.shortfalls]
