"""What `bcsctl agent status` and `bcs-agent status` show, from fixed data and from an agent without a node."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bcsctl.output import painted, tell
from engine.agent.status.document import document
from engine.agent.status.lines import lines, printable
from engine.agent.status.matters import matters
from engine.model.times import DAY, HOUR, SECOND, parse_time
from tests.embedded import ROOT

Golden = Callable[[str], None]
NOW = parse_time("2026-11-22T12:00:00Z", 0)
MIB = 1 << 20


def source(address: str = "finance/sf-db1/files", **changes: Any) -> dict[str, Any]:
    return {
        "address": address,
        "paths": ["/srv/finance"],
        "rpo": 5 * SECOND,
        "lag": 210_000,
        "stream": "0123456789abcdef",
        "state": "protected",
        "mechanism": "fanotify",
        "ranges": "trace",
        "costs": "",
        "through_at": NOW - 210_000,
        "last_change_at": NOW - 40 * SECOND,
        "acknowledged_at": NOW - 39 * SECOND,
        "pending": 0,
        "bytes_changed": 3 * MIB,
        "bytes_sent": MIB + MIB // 2,
        "gap_from": None,
        "gap_reason": "",
        "spool_bytes": 0,
        "unreadable": 0,
        "unreadable_paths": [],
        "baseline": {"files": 20, "bytes": 4096, "done": True},
        "message": "",
        **changes,
    }


def state(*sources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    usage = {
        "memory_bytes": 52 * MIB,
        "memory_limit_bytes": 1024 * MIB,
        "cpu_seconds": 12.34,
        "spool_bytes": 0,
        "spool_limit_bytes": 10 << 30,
        "cache_bytes": MIB,
        "bandwidth": None,
        "baseline_bandwidth": None,
        "message": "",
    }
    told = {
        "at": NOW,
        "host": "sf-db1",
        "home": "/var/lib/bcs-agent",
        "version": "0.1.0+0123456789ab",
        "pid": 812,
        "started_at": NOW - 3 * HOUR,
        "node": {"heard_at": NOW - 400_000, "message": ""},
        "certificate": {"issued_at": NOW - 2 * DAY, "not_after": NOW + 5 * DAY, "message": ""},
        "clock_skew": 3_200,
        "sources": list(sources),
        **changes,
        "usage": {**usage, **changes.get("usage", {})},
    }
    return {**told, "attention": [matter.sentence for matter in matters(told, NOW)]}


TROUBLED = state(
    source(
        "finance/sf-db1/files",
        lag=40 * SECOND,
        through_at=NOW - 40 * SECOND,
        pending=12_345,
        spool_bytes=9 << 30,
        unreadable=7,
        unreadable_paths=[{"path": f"/srv/finance/{n}\x1b[2J", "reason": "Permission denied"} for n in range(7)],
        costs="no tracepoints here: a changed file is read whole",
    ),
    source(
        "finance/sf-db1/logs",
        state="catching-up",
        gap_from=NOW - 90 * SECOND,
        gap_reason="event queue overflow",
        pending_big_files=2,
        pending_big_bytes=3 << 30,
    ),
    source("mail/sf-db1/spool", state="failed", mechanism="", through_at=None, lag=None, message="/srv/mail has gone"),
    source("web/sf-db1/www", state="baseline", baseline={"files": 120, "bytes": 5 * MIB, "done": False}),
    node={"heard_at": NOW - 45 * SECOND, "message": "does not answer"},
    certificate={"issued_at": NOW - 7 * DAY, "not_after": NOW + 2 * HOUR, "message": "no node of the site answers"},
    clock_skew=-3_700_000,
    usage={
        "spool_bytes": 9 << 30,
        "bandwidth": 5 * MIB,
        "baseline_bandwidth": MIB,
        "message": "no time zone Europe/Nowhere is known here: the lowest bound holds all the time",
    },
)


def test_all_is_well(golden: Golden) -> None:
    tell("\n".join(lines(state(source(), source("mail/sf-db1/spool")), painted)))
    golden("agent-status")


def test_what_is_the_matter(golden: Golden) -> None:
    tell("\n".join(lines(TROUBLED, painted)))
    golden("agent-status-troubled")


def test_the_document(golden: Golden) -> None:
    tell(json.dumps(document(TROUBLED), indent=2))
    golden("agent-status-json")


def test_colours_mean_something() -> None:
    said: dict[str, str | None] = {}
    lines(TROUBLED, lambda text, colour: (said.setdefault(text, colour) and text) or text)
    assert said["protected"] == "green" and said["failed"] == "red"
    assert said["catching-up"] == said["baseline"] == "yellow"
    assert {colour for text, colour in said.items() if text in map(printable, TROUBLED["attention"])} == {"red"}


def test_nothing_protected_is_no_alarm() -> None:
    assert state()["attention"] == []
    assert "nothing on this host is protected" in lines(state(), lambda text, _: text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node": {"heard_at": NOW - 11 * SECOND, "message": ""}}, "was not reached"),
        ({"node": {"heard_at": 0, "message": "host 'a' was revoked"}}, "host 'a' was revoked"),
        ({"certificate": {"issued_at": NOW - 7 * DAY, "not_after": NOW - 1, "message": ""}}, "ended at"),
        ({"certificate": {"issued_at": 0, "not_after": 0, "message": "there is none"}}, "there is none"),
        ({"clock_skew": 2_000_001}, "ahead of the site's"),
        ({"usage": {"spool_bytes": (10 << 30) * 81 // 100}}, "the spool holds"),
    ],
)
def test_what_needs_attention(changes: dict[str, Any], said: str) -> None:
    assert any(said in each for each in state(source(), **changes)["attention"])


@pytest.mark.parametrize(
    "changes",
    [
        {"node": {"heard_at": NOW - 9 * SECOND, "message": ""}},
        {"certificate": None},
        {"certificate": {"issued_at": NOW - 4 * DAY, "not_after": NOW + 2 * DAY, "message": ""}},
        {"clock_skew": -2_000_000},
        {"clock_skew": None},
        {"usage": {"spool_bytes": (10 << 30) * 79 // 100}},
    ],
)
def test_what_does_not(changes: dict[str, Any]) -> None:
    assert state(source(), **changes)["attention"] == []


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An agent's, whose node is away; its directory is deeper than a socket's address may be long."""
    home = tmp_path / ("deep" * 20) / "home"
    tree = tmp_path / "tree"
    tree.mkdir()
    (home / "agent").mkdir(parents=True)
    wanted = {"stream": "5eed", "address": "g/h/s", "kind": "files", "paths": [str(tree)], "rpo_seconds": 5}
    (home / "agent" / "desired.json").write_text(json.dumps({"generation": 3, "sources": [wanted]}))
    environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "engine.agent", "agent", "--home", str(home), "--host", "h", "--socket", "/nowhere"]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL) as agent:
        try:
            until = time.monotonic() + 20
            while not (home / "run" / "agent.sock").exists() and time.monotonic() < until:
                time.sleep(0.02)
            yield home
        finally:
            agent.terminate()


def asked(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *argv], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_agent_answers_on_its_own_host_while_its_node_is_away(home: Path) -> None:
    assert stat.S_IMODE((home / "run" / "agent.sock").stat().st_mode) == 0o600
    until = time.monotonic() + 20
    while True:  # the first try to report is a moment after the start
        own = asked(home, "engine.agent", "status", "--json")
        told = json.loads(own.stdout)
        if told["node"]["message"] or time.monotonic() > until:
            break
    assert own.returncode == 1 and told["host"] == "h" and told["usage"]["memory_bytes"] > MIB
    assert told["node"] == {"heard_at": None, "message": "does not answer"}
    assert {"spool_bytes", "gap_reason", "acknowledged_at"} <= set(told["sources"][0])
    assert told["sources"][0]["address"] == "g/h/s" and told["sources"][0]["rpo_seconds"] == 5
    assert any("does not answer" in each for each in told["attention"])
    shown = asked(home, "bcsctl", "agent", "status")
    assert shown.returncode == 1 and "g/h/s" in shown.stdout and "Traceback" not in shown.stderr


def test_without_an_agent_it_says_so(tmp_path: Path) -> None:
    for argv in (("engine.agent", "status"), ("bcsctl", "agent", "status")):
        nobody = asked(tmp_path, *argv)
        assert nobody.returncode == 1 and f"no agent answers in {tmp_path}" in nobody.stderr, nobody
        assert "bcsctl apply" in nobody.stderr and "Traceback" not in nobody.stderr
