"""A restore in place that is killed while it writes has an end in the audit all the same, and only one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import Failed
from engine.recovery.in_place import writing as notes
from engine.recovery.in_place.writing import close_interrupted, writing

WRITES = """
import sys
from pathlib import Path
from engine.recovery.in_place.writing import writing
with writing(Path(sys.argv[1]), "before-restore-1", "ann", {"address": "demo/localhost/files", "undo": "mark:m"}):
    print(flush=True)
    sys.stdin.read()
"""


def acts(home: Path) -> list[dict[str, Any]]:
    path = home / "audit" / "pending.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_one_that_was_killed_is_closed_once(tmp_path: Path) -> None:
    root = str(Path(notes.__file__).parents[3])
    argv = [sys.executable, "-c", WRITES, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": root}, **pipes) as writer:  # type: ignore[call-overload]
        assert writer.stdout.readline() == b"\n"
        assert close_interrupted(tmp_path) == [], "it lives"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    [closed] = close_interrupted(tmp_path)
    assert closed == {
        "address": "demo/localhost/files",
        "undo": "mark:m",
        "verified": False,
        "error": "killed while it wrote",
        "code": "interrupted",
    }
    assert close_interrupted(tmp_path) == []
    [act] = acts(tmp_path)
    assert (act["what"], act["who"], act["details"]) == ("restore", "ann", closed)


def test_one_that_ended_leaves_nothing_to_close(tmp_path: Path) -> None:
    with writing(tmp_path, "one", "ann", {}):
        pass
    with pytest.raises(Failed), writing(tmp_path, "two", "ann", {}):
        raise Failed("it is recorded by who wrote", hint="none")
    assert close_interrupted(tmp_path) == [] and acts(tmp_path) == []


def test_one_that_nobody_recorded_is_closed_later(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path, "one", "ann", {"undo": "mark:one"}):
        raise ZeroDivisionError
    assert [told["undo"] for told in close_interrupted(tmp_path)] == ["mark:one"]
