"""Tend one tree that is filled on demand: have it made, tell its node how far it is, do what is asked, see its end.

Whoever tends may be killed at any moment: the next one goes on from what the place says. The tree itself is guarded
and filled by processes of its own, whether anybody tends it or not.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.agent.restore.on_demand import where
from engine.agent.restore.on_demand.client import PLAN_SECONDS, TreeClient
from engine.agent.restore.on_demand.making import Order, give_back, make
from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import CANCELLED, ENDED, FAILED, LIVING, Place
from engine.fill.kept import documents
from engine.fill.kept.documents import UNGUARDED
from engine.fill.life import recoveries, shown
from engine.fill.life.recoveries import CUT_OFF, Recovery
from engine.model.errors import BcsError, Failed, NothingThere, Refused, Unreachable

TELL_SECONDS, LOOK_SECONDS = 1.0, 0.1
AGAIN_SECONDS = 5.0
"""Before a tree that could not be guarded again is tried once more."""
NAMED_MAX = 100
OPEN = "open"


class Tending:
    """One tree. `order` is None when it was made before, and the node has said no more since."""

    def __init__(
        self, home: Path, place: Place, order: Order | None, told: dict[str, Any], stopping: threading.Event
    ) -> None:
        self._home, self._place, self._order, self._told = home, place, order, told
        self._client = TreeClient(home, place.path.name, told)
        self._stopping = stopping
        self._clock: Clock = SYSTEM
        self._shortfalls: list[str] = []
        self._revived_at = -AGAIN_SECONDS
        self._error = ""

    def until_the_end(self) -> bool:
        """Whether the node knows how it ended, or has ended it itself; otherwise this is to be called again."""
        if not self._made():
            return self._order is None
        where.write(self._place, self._told)
        give_back(self._place, Path(documents.read_recipe(self._place).dir))
        self._go_on()
        while not self._stopping.is_set():
            found = recoveries.look(self._place)
            if not found.living:
                return self._tell_end(found)
            self._guard(found)
            try:
                answer = self._client.tell({"recovery": self._recovery(found)})
            except (Unreachable, OSError):
                pass  # it fills on as soon as the node is back
            except (Refused, NothingThere) as error:
                print(f"recovery {found.recipe.id}: {error.message}", file=sys.stderr, flush=True)
            else:
                if self._over(found, answer):
                    return True
            self._wait(found)
        return False

    def _made(self) -> bool:
        """Have the tree made if it is not; False when that can't be, and the node knows."""
        place = self._place
        if place.recipe.exists():
            if recoveries.look(place).word != CUT_OFF:
                return True
            recoveries.clear(self._home, documents.read_recipe(place).dir)
            give_back(place, Path(documents.read_recipe(place).dir))
            shutil.rmtree(place.path)
        if self._order is None:
            return False
        try:
            client = TreeClient(self._home, place.path.name, self._told, PLAN_SECONDS)
            self._shortfalls, epoch = make(place, self._order, client)
            self._note_epoch(epoch)
            return True
        except Unreachable:
            raise
        except (BcsError, OSError) as error:
            if place.recipe.exists() and documents.read_state(place).state in LIVING:
                raise
            failed = error if isinstance(error, BcsError) else Failed(f"the tree can't be made: {error}")
            self._client.tell(failed.as_json())
            shutil.rmtree(place.path, ignore_errors=True)
            self._order = None
            return False

    def _go_on(self) -> None:
        """What whoever made the tree was killed before, or had no node for."""
        if self._epoch() == 0 and self._place.names.exists():
            try:
                self._note_epoch(self._client.go_on())
            except Unreachable:
                pass
            except BcsError as error:
                self._shortfalls.append(f"history can't go on from here, the tree is taken for new: {error.message}")

    def _guard(self, found: Recovery) -> None:
        """Begin again what nobody guards: after a reboot, or when all was killed at once."""
        now = self._clock.monotonic()
        if found.word != recoveries.UNGUARDED or now - self._revived_at < AGAIN_SECONDS:
            return
        self._revived_at = now
        for each, error in recoveries.revive(self._home):
            if each.place.path == self._place.path:
                self._error = error.message if error is not None else ""

    def _recovery(self, found: Recovery) -> dict[str, Any]:
        told = shown.as_json(found)
        named = ("damaged", "holds", "written_unguarded")
        return {
            **{name: value for name, value in told.items() if value is not None},
            **{name: told[name][:NAMED_MAX] for name in named},
            "shortfalls": self._shortfalls[:NAMED_MAX],
            "epoch": self._epoch(),
            "begun_at": found.recipe.begun_at,
            "error": told["error"] or self._error,
        }

    def _over(self, found: Recovery, answer: Mapping[str, Any]) -> bool:
        """Do what the node asks; whether that was the end."""
        wanted, state = dict(answer.get("wanted") or {}), answer.get("state")
        if state == CANCELLED or wanted.get("cancel"):
            ended = recoveries.cancel(found)
            return self._tell_end(replace(found, state=ended))
        if state != OPEN:
            raise Failed(f"the node says that recovery {found.recipe.id} is over: {state}")
        asked = documents.read_wanted(self._place)
        rate = wanted.get("rate_bytes", asked.rate_bytes)
        new = replace(asked, paused=bool(wanted.get("paused")), finish=bool(wanted.get("finish")), rate_bytes=rate)
        if new != asked:
            documents.write_wanted(self._place, new)
        return False

    def _wait(self, found: Recovery) -> None:
        """Until it is time to tell again, or there is something to tell."""
        ends = self._clock.monotonic() + TELL_SECONDS
        while self._clock.monotonic() < ends and not self._stopping.wait(LOOK_SECONDS):
            if documents.read_state(self._place).state != found.state.state:
                return

    def _tell_end(self, found: Recovery) -> bool:
        """What the node hears of the end; False when it can't be told now."""
        try:
            self._client.tell(self._end(found))
        except (Unreachable, OSError):
            self._stopping.wait(TELL_SECONDS)
            return False
        return True

    def _end(self, found: Recovery) -> dict[str, Any]:
        if found.state.state == CANCELLED:
            return {"error": {"code": CANCELLED, "message": "the tree was removed", "hint": "", "details": {}}}
        if found.state.state == FAILED:
            message = found.state.error or "it never came to be used"
            return {"error": {"code": "failed", "message": message, "hint": found.state.hint, "details": {}}}
        assert found.state.state == ENDED
        recipe, written = found.recipe, found.written
        return {
            "outcome": {
                "files": recipe.files,
                "bytes": recipe.bytes,
                "seconds": round((found.state.at - recipe.begun_at) / 1e6, 3),
                "mechanism": recipe.mechanism,
                "verified": not written,
                "failures": [{"path": path, "message": UNGUARDED} for path in written[:NAMED_MAX]],
                "failures_count": len(written),
                "shortfalls": self._shortfalls[:NAMED_MAX],
                "shortfalls_count": len(self._shortfalls),
                "damaged": bool(written),
            }
        }

    def _epoch(self) -> int:
        try:
            return int((self._place.path / "epoch").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _note_epoch(self, epoch: int | None) -> None:
        if epoch is not None:
            durable.replace(self._place.path / "epoch", str(epoch).encode())
