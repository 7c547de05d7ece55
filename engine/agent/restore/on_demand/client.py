"""What a host asks of its node for a tree that it fills on demand. Any thread; nobody waits for a node that is away."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.agent.host.where import find
from engine.agent.restore.client import RestoreClient
from engine.model.errors import NothingThere
from engine.wire.batch import HASH_BYTES, Batch, decode
from engine.wire.errors import Malformed

ANSWER_SECONDS, PLAN_SECONDS = 20.0, 600.0
"""Before a node counts as away: for who reads; and for what it works out once, of a large tree."""
NO_PLAN = bytes(HASH_BYTES)


class TreeClient(RestoreClient):
    """One tree at one node. Every call raises Unreachable when there is no answer, Refused once it is over."""

    def __init__(self, home: Path, id: str, told: Mapping[str, Any], answer_seconds: float = ANSWER_SECONDS) -> None:
        """`told` says where the node is: {host, socket, nodes}, as a recipe's supply keeps it. A tree of a drill, whose
        state does not lie in the agent's home, is told of that too: {home, drill, run}."""
        socket = Path(told["socket"]) if told["socket"] else None
        where = find(Path(told.get("home") or home), told["host"], socket, told["nodes"])
        super().__init__(
            where.endpoint, id, told["host"], threading.Event(), patient=False, answer_seconds=answer_seconds
        )
        self._id = id
        if told.get("drill"):
            self._base = f"/v1/drills/{quote(told['drill'])}/sources/{quote(id)}"
            self._as += f"&run={quote(told['run'])}&contents=0"

    def range(self, file_id: int, offset: int, length: int) -> Batch:
        """Extents of one file. Malformed when it is not what was asked for."""
        whole = self._bytes("GET", f"{self._base}/data?{self._as}&file={file_id}&offset={offset}&length={length}")
        batch = decode(whole)
        if batch.stream != self._id or batch.prev != NO_PLAN:
            raise Malformed(f"a range of file {file_id} belongs to something else")
        return batch

    def heat(self) -> dict[int, tuple[int, int]]:
        """See engine.fill.base.Supply."""
        told = self._json("GET", f"{self._base}/heat?{self._as}")["heat"]
        return {int(file_id): (int(count), int(at)) for file_id, (count, at) in told.items()}

    def holes(self) -> dict[int, int]:
        """How many bytes of holes files have at least, by file_id."""
        told = self._json("GET", f"{self._base}/holes?{self._as}")["holes"]
        return {int(file_id): int(count) for file_id, count in told.items()}

    def data(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """The ranges with data, (offset, length), of files with holes."""
        told = self._json("GET", f"{self._base}/ranges?{self._as}")["ranges"]
        return {int(file_id): tuple((int(at), int(count)) for at, count in found) for file_id, found in told.items()}

    def names(self, page: int) -> bytes | None:
        """Some of the source's names then, compressed (zstd); None behind the last."""
        try:
            return self._bytes("GET", f"{self._base}/names/{page}?{self._as}")
        except NothingThere:
            return None

    def go_on(self) -> int:
        """The tree is guarded: the epoch in which its source's history goes on."""
        return int(self._json("POST", f"{self._base}/go-on?{self._as}", {})["epoch"])

    def tell(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Say how far it is, or how it ended: {state, wanted}."""
        return self._json("POST", f"{self._base}/progress?{self._as}", body)
