"""Acts that no node could record wait in a file, one line each."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from engine.recovery.acts import record_act, who_acts


def test_acts_wait_in_order_for_a_node(tmp_path: Path) -> None:
    assert record_act(tmp_path, "restore", "ann", {"files": 1}) is False
    assert record_act(tmp_path, "restore", "ann", {"path": "/caf\udce9"}) is False
    file = tmp_path / "audit" / "pending.jsonl"
    acts = [json.loads(line) for line in file.read_text("ascii").splitlines()]
    assert [act["details"] for act in acts] == [{"files": 1}, {"path": "/caf\udce9"}]
    assert all(act["what"] == "restore" and act["who"] == "ann" and act["at"].endswith("Z") for act in acts)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_somebody_acts() -> None:
    assert who_acts()
