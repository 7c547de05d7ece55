"""What a drill on this host asks of its node: what is to come back, and telling what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from engine.agent.restore.client import RestoreClient
from engine.env.endpoint import Endpoint


class DrillClient(RestoreClient):
    """One source of a drill, received as a restore is; how far it is, is told of the drill."""

    def __init__(
        self,
        where: Callable[[], Endpoint],
        drill: str,
        source: str,
        host: str,
        run: str,
        stopping: threading.Event,
        waiting: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`source` is the node's id of what comes back of one source; empty for who only tells. `run` is the same for
        all that one process asks: a drill is made by one, or not at all."""
        super().__init__(where, source, host, stopping, waiting)
        self._as += f"&run={quote(run)}"
        self._drill = f"/v1/drills/{quote(drill)}"
        self._base = f"{self._drill}/sources/{quote(source)}"

    def progress(self, body: Mapping[str, Any]) -> str:
        """The drill's state as the node has it: `open`, or how it ended."""
        return str(self._json("POST", f"{self._drill}/progress?{self._as}", body).get("state"))
