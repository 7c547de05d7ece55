"""A node that acknowledges late: what waits is shown as pending, and nothing is once all is acknowledged."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.failures.host import a_host


def test_nothing_is_pending_once_all_is_acknowledged(tmp_path: Path) -> None:
    """Though nothing happens any more that would begin a pass."""
    with a_host(tmp_path) as host:
        host.start()
        host.settle()
        host.protected()
        take = host.node.send
        answers, taken = threading.Event(), threading.Event()

        def late(*arguments: Any) -> None:
            assert answers.wait(120)
            take(*arguments)
            taken.set()

        host.node.send = late  # type: ignore[method-assign]
        (host.tree / "f").write_text("1")
        host.wait(lambda: host.reported()["pending"] > 0, "what waits to be shown")
        answers.set()
        host.wait(taken.is_set, "the node to take it")
        host.wait(lambda: host.reported()["pending"] == 0, "that nothing waits to be shown")
        row = host.reported()
        host.wait(lambda: host.reported()["through_at"] > row["through_at"], "an idle source to be complete")
        host.settle()
