"""What changes cost on the line, both ways, between a real agent and a real node over TLS.

    python -m tests.bench.agent_wire [--small]

Small changes of a few hot pages at a steady rate, and appends to a large file. Counted outside (tests/bench/wire.py),
with TCP's and IP's headers and acknowledgements; reports and everything else that the two say to each other included.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.bench import part
from tests.bench.figures import Figure
from tests.bench.wide import agent
from tests.bench.wire import Counted, counted
from tests.nodes import apply, source, wait_for
from tests.secured import SecuredNode, secured_node

HOST = "host0"
ADDRESS = f"wire/{HOST}/files"
PAGE_BYTES, PAGES = 8192, 16
RATE, CHANGE_BYTES = 100, 100
CHANGE_BYTES_MAX = 400
LARGE_BYTES, APPEND_BYTES = 10 << 30, 1_000_000
LARGE_EVERY_BYTES, LARGE_PIECE_BYTES = 64 << 20, 4096
"""The large file is sparse: so much data each so many bytes. Who read all of it would be told all of its size."""

APPEND_BYTES_MAX, READ_BYTES_MAX = 1_050_000, 16 << 20


def figures(place: Path, *, small: bool = False) -> list[Figure]:
    seconds = 2.0 if small else 20.0
    tree = place / "tree"
    tree.mkdir()
    pages, large = tree / "pages", tree / "large"
    pages.write_bytes(os.urandom(PAGE_BYTES * PAGES))
    with large.open("wb") as file:
        file.truncate((LARGE_BYTES >> 6) if small else LARGE_BYTES)
        for at in range(0, large.stat().st_size, LARGE_EVERY_BYTES):
            file.seek(at)
            file.write(os.urandom(LARGE_PIECE_BYTES))
    with secured_node(place / "site") as node, counted(node.port) as line:
        apply(node, source(ADDRESS, str(tree)))
        with agent(place / HOST, HOST, node, node.port):
            wait_for(lambda: row(node)["protected"] == "protected", 120, "the host to be protected")
            return [*hot_pages(node, line, pages, seconds), *append(node, line, large)]


def row(node: SecuredNode) -> dict[str, object]:
    """The source as the node's status has it."""
    [group] = node.admin("GET", "/v1/status").json["groups"]
    return dict(group["sources"][0])


def hot_pages(node: SecuredNode, line: Counted, path: Path, seconds: float) -> list[Figure]:
    """100 bytes changed in place, 100 times a second, in a few pages of 8 KiB."""
    write(path, PAGES)  # each page once: from here on its old bytes are known
    settle(node, line)
    line.begin()
    before = row(node)
    count = int(RATE * seconds)
    write(path, count)
    settle(node, line)
    after = row(node)
    changed = (int(str(after["bytes_changed"])) - int(str(before["bytes_changed"]))) / count
    sent = (int(str(after["bytes_sent"])) - int(str(before["bytes_sent"]))) / count
    both = (line.to_bytes + line.from_bytes) / count
    note = f"{line.packets / count:.2f} packets; {changed:.0f} bytes found changed, {sent:.0f} in batches"
    return [
        Figure("wire", f"{CHANGE_BYTES} bytes changed in hot pages, {RATE} a second: both ways, a change",
               both, "bytes", at_most=CHANGE_BYTES_MAX, note=note),
        Figure("wire", "to the node", line.to_bytes / count, "bytes"),
        Figure("wire", "from the node", line.from_bytes / count, "bytes"),
    ]  # fmt: skip


def append(node: SecuredNode, line: Counted, path: Path) -> list[Figure]:
    """1 MB appended to a large file."""
    before = row(node)
    line.begin()
    with path.open("ab") as file:
        file.write(os.urandom(APPEND_BYTES))
    wait_for(lambda: line.to_bytes > APPEND_BYTES, 600, "the append to be sent")
    settle(node, line)
    read = int(str(row(node)["bytes_read"])) - int(str(before["bytes_read"]))
    size = path.stat().st_size / (1 << 30)
    note = f"sparse: {LARGE_PIECE_BYTES} bytes each {LARGE_EVERY_BYTES >> 20} MiB"
    return [
        Figure("wire", f"1 MB appended to {size:.1f} GiB: both ways", line.to_bytes + line.from_bytes, "bytes",
               at_most=APPEND_BYTES_MAX, note=note),
        Figure("wire", "read from the file for it", read, "bytes", at_most=READ_BYTES_MAX),
    ]  # fmt: skip


def write(path: Path, count: int) -> None:
    """Changes at even times, each in the next page, at another place of it."""
    start = time.perf_counter()
    with path.open("r+b", buffering=0) as file:
        for number in range(count):
            time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            page, at = number % PAGES, number * 37 % (PAGE_BYTES - CHANGE_BYTES)
            os.pwrite(file.fileno(), os.urandom(CHANGE_BYTES), page * PAGE_BYTES + at)


def settle(node: SecuredNode, line: Counted) -> None:
    """Wait until nothing is pending and reports have told so."""
    wait_for(lambda: not row(node)["pending"], 60, "the agent to have nothing pending")
    time.sleep(1.5)
    wait_for(lambda: not row(node)["pending"], 60, "the agent to have nothing pending")


if __name__ == "__main__":
    sys.exit(part.main("wire", figures))
