"""Large batches go straight to a node that takes them fast; small ones, and those of a slow node, through the spool."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import pytest
from conftest import Site

from engine.agent.capture.outbox import DIRECT_BYTES_MIN
from engine.agent.kept.record import Place
from engine.agent.kept.spool import Spool
from engine.agent.ship.shipper import SOON_SECONDS

TRIES = 20


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what was put into the spool."""
    sizes: list[int] = []
    append = Spool.append

    def noted(self: Spool, buffers: Sequence[bytes]) -> Place:
        sizes.append(sum(map(len, buffers)))
        return append(self, buffers)

    monkeypatch.setattr(Spool, "append", noted)
    return sizes


def test_a_large_batch_that_ends_a_pass_need_not_be_written_twice(site: Site, spooled: list[int]) -> None:
    site.start()
    site.settle()
    for _ in range(TRIES):
        spooled.clear()
        (site.tree / "large").write_bytes(os.urandom(3 * DIRECT_BYTES_MIN))
        site.settle()
        if not any(size > DIRECT_BYTES_MIN for size in spooled):
            break  # the first goes there: what the node took before was too small to tell how fast it is
    else:
        pytest.fail("all went through the spool")
    spooled.clear()
    (site.tree / "small").write_bytes(b"small")
    site.settle()
    assert spooled


def test_a_slow_node_gets_it_from_the_spool(site: Site, spooled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    send = site.node.send

    def slowly(*arguments: Any) -> None:
        time.sleep(SOON_SECONDS + 0.1)
        send(*arguments)

    monkeypatch.setattr(site.node, "send", slowly)
    site.start()
    site.settle()
    for _ in range(3):
        (site.tree / "large").write_bytes(os.urandom(4 * DIRECT_BYTES_MIN))
        site.settle()
    assert len([size for size in spooled if size > DIRECT_BYTES_MIN]) == 3
