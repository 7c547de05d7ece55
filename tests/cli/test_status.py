"""What bcsctl status shows, from fixed data against golden files, and how it narrows and redraws."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bcsctl import status_view
from bcsctl.commands import status
from engine.model.errors import Unreachable, UsageError
from engine.model.times import format_time
from tests.embedded import ROOT, Site

from .conftest import PlainSite, Run

Golden = Callable[[str], None]


def row(address: str, **changes: Any) -> dict[str, Any]:
    return {
        "address": address,
        "synced": "synced",
        "healthy": "healthy",
        "protected": "protected",
        "condition": "protected",
        "since": None,
        "state": "protected",
        "point": "1.1234",
        "last_change_at": "2026-11-22T11:59:58.250000Z",
        "through_at": "2026-11-22T12:00:00.000000Z",
        "lag_seconds": 0.41,
        "rpo_target_seconds": 5.0,
        "gaps": 0,
        "gap_open_since": None,
        "pending": 0,
        "unreadable": 0,
        "unreadable_paths": [],
        "baseline": {"files": 20, "bytes": 4096, "done": True},
        "paths": ["/srv/finance"],
        "mechanism": "fanotify",
        "costs": "",
        "message": "",
        "durable_lag_ms": {"median": 11.5, "p99": 30.1},
        **changes,
    }


def test_status(golden: Golden) -> None:
    baseline = {"files": 1234, "bytes": 5 << 20, "files_total": 20000, "bytes_total": 3 << 30, "done": False}
    late = {"protected": "unprotected", "healthy": "silent", "synced": "drifted", "lag_seconds": 4000.0, "gaps": 3}
    late |= {"condition": "silent", "since": "2026-11-22T10:53:20.000000Z"}
    young = {"protected": "catching-up", "state": "baseline", "point": None, "last_change_at": None}
    young["condition"] = "baseline"
    groups = [
        {"name": "finance", "sources": [row("finance/sf-db1/files"), row("finance/sf-db2/files", **late)]},
        {
            "name": "web",
            "sources": [
                row("web/w1/files", **young, lag_seconds=None, pending=12, baseline=baseline),
                row(
                    "web/w2/files",
                    gap_open_since="2026-11-22T11:00:00.000000Z",
                    gap_open_reason="event queue overflow",
                    unreadable=2,
                    unreadable_paths=[{"path": "/srv/finance/private", "reason": "Permission denied"}],
                    message="the node does not take what it is sent: no space left on device",
                    pending_big_files=2,
                    pending_big_bytes=3 << 30,
                    costs="inotify instead of fanotify: not root",
                ),
            ],
        },
    ]
    status.render({"at": "2026-11-22T12:00:00.000000Z", "node": "n1", "policies": 3, "groups": groups})
    golden("status")


def test_what_watching_costs_is_no_remark_on_a_source_that_fails() -> None:
    costs = "inotify instead of fanotify: not root"
    for healthy, told in (("healthy", True), ("failing", False)):
        remarks = status_view.remarks(row("web/w1/files", healthy=healthy, costs=costs))
        assert any(costs in text for text, _ in remarks) is told


def test_status_of_traffic(golden: Golden) -> None:
    moved = {"bytes_read": 5 << 30, "bytes_changed": 1 << 20, "bytes_sent": 300_000, "bytes_stored": 200_000}
    sources = [row("finance/sf-db1/files", **moved), row("finance/sf-db2/files")]
    groups = [{"name": "finance", "sources": sources}]
    found = {"at": "2026-11-22T12:00:00.000000Z", "node": "n1", "policies": 3, "groups": groups}
    status.render(found, traffic=True)
    golden("status-traffic")


def test_status_of_hosts(golden: Golden) -> None:
    def host(name: str, **changes: Any) -> dict[str, Any]:
        return {
            "host": name,
            "state": "healthy",
            "since": None,
            "version": "0.1.0",
            "heard_at": "2026-11-22T11:59:59.500000Z",
            "clock_skew_seconds": 0.012,
            "sources": 4,
            "sources_protected": 4,
            "certificate": {"serial": "0a", "not_after": "2026-11-29T12:00:00.000000Z", "revoked_at": None},
            **changes,
        }

    since = "2026-11-22T11:00:00.000000Z"
    revoked = {"serial": "0b", "not_after": "2026-11-29T12:00:00.000000Z", "revoked_at": since}
    never = {"version": "", "heard_at": None, "clock_skew_seconds": None, "sources_protected": 0, "certificate": None}
    hosts = [
        host("sf-db1"),
        host("sf-db2", state="silent", since=since, heard_at=since, clock_skew_seconds=-3.25, sources_protected=0),
        host("sf-web1", state="never-seen", since=since, **never),
        host("sf-web2", state="refused", since=since, certificate=revoked, sources_protected=0),
        host("sf-web3", state="lagging", since="2026-11-22T11:59:00.000000Z", sources_protected=3),
    ]
    silent = row("finance/sf-db2/files", condition="silent", since=since, healthy="silent", protected="unprotected")
    groups = [{"name": "finance", "sources": [row("finance/sf-db1/files"), silent]}]
    found = {"at": "2026-11-22T12:00:00.000000Z", "node": "n1", "policies": 3, "groups": groups, "hosts": hosts}
    status.render(found, hosts=True)
    golden("status-hosts")


def test_status_of_nothing_with_the_node_down(golden: Golden) -> None:
    status.render({"at": "2026-11-22T12:00:00.000000Z", "node": None, "policies": 0, "groups": []})
    golden("status-nothing")


def test_a_status_of_one_state_keeps_the_answer_about_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown(monkeypatch, "--state", "lagging")
    assert [row["address"] for group in found["groups"] for row in group["sources"]] == ["b/h2/y"]
    assert [row["host"] for row in found["hosts"]] == []
    assert found["answer"].startswith("2 of 4 sources are not protected")
    assert found["summary"]["sources"] == 4


@pytest.mark.parametrize(
    ("arguments", "addresses", "hosts"),
    [
        ((), ["a/h1/x", "a/h2/x", "b/h1/y", "b/h2/y"], ["h1", "h2"]),
        (("a",), ["a/h1/x", "a/h2/x"], ["h1", "h2"]),
        (("--host", "h[2-9]"), ["a/h2/x", "b/h2/y"], ["h2"]),
        (("--selector", "location=sf"), ["a/h1/x"], ["h1"]),
        (("--selector", "location=sf,tier=1"), [], []),
        (("--state", "silent", "--state", "healthy"), ["a/h1/x", "a/h2/x", "b/h1/y"], ["h1", "h2"]),
        (("b", "--host", "h1", "--state", "healthy"), ["b/h1/y"], ["h1"]),
    ],
)
def test_filters(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], addresses: list[str], hosts: list[str]
) -> None:
    found = shown(monkeypatch, *arguments)
    assert [row["address"] for group in found["groups"] for row in group["sources"]] == addresses
    assert [row["host"] for row in found["hosts"]] == hosts


def test_a_selector_is_label_and_value() -> None:
    assert status.read_selector("a=b, c=d=e") == {"a": "b", "c": "d=e"}
    assert status.read_selector(None) == {}
    with pytest.raises(UsageError):
        status.read_selector("finance")


def test_nothing_in_a_name_reaches_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    site = {"groups": [{"name": "a", "sources": [row("a/h/x", message="red \x1b[31m\r\n")]}], "node": "n", "hosts": []}
    monkeypatch.setattr(status, "get", lambda *_: site)
    assert "\x1b[31m" not in CliRunner().invoke(status.command, []).output


def shown(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    silent = {"protected": "unprotected", "condition": "silent", "healthy": "silent"}
    late = {"protected": "unprotected", "condition": "lagging"}
    groups = [
        {"name": "a", "sources": [row("a/h1/x", labels={"location": "sf"}), row("a/h2/x", **silent)]},
        {"name": "b", "sources": [row("b/h1/y"), row("b/h2/y", **late)]},
    ]
    hosts = [{"host": "h1", "state": "healthy"}, {"host": "h2", "state": "silent"}]
    site = {"at": "", "node": "n1", "policies": 1, "groups": groups, "hosts": hosts}
    monkeypatch.setattr(status, "get", lambda *_: site)
    done = CliRunner().invoke(status.command, [*arguments, "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.output)
    return found


def test_with_the_node_down_the_journal_tells_what_it_can(run: Run, site: PlainSite) -> None:
    done = run("status", "--json", home=site.home)
    found = done.json
    assert (found["node"], found["answer"]) == (
        None,
        "Nobody knows whether the only source is protected: the node is not running",
    )
    [row] = found["hosts"]
    assert (row["host"], row["state"], row["heard_at"]) == ("localhost", "unknown", format_time(site.third))
    told = run("status", "--hosts", home=site.home)
    assert "unknown" in told.text and "the node is not running" in told.err
    assert "0 of 1" not in told.text, "nobody knows whether it is protected"
    [source] = found["groups"][0]["sources"]
    assert [source[axis] for axis in ("synced", "healthy", "protected", "condition")] == ["unknown"] * 4
    [line] = [line for line in run("status", home=site.home).text.splitlines() if source["address"] in line]
    assert line.split()[1:4] == ["unknown"] * 3 and line.split()[-1] == "-"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_draws_in_place_and_gives_the_screen_back(tmp_path: Path, number: int) -> None:
    with Site(tmp_path / "home") as site:
        site.start_node()
        site.protect("docs/localhost/files", tmp_path)
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (12, 60))
        before = termios.tcgetattr(theirs)
        environment = {**os.environ, "BCS_HOME": str(site.home), "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "bcsctl", "status", "--watch", "0.2"]
        watching = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        try:
            drawn = read_until(ours, lambda text: text.count(b"docs/localhost/files") >= 6)
            assert drawn.startswith(b"\x1b[?1049h") and b"\x1b[?25l" in drawn
            assert drawn.count(b"\x1b[2J") <= 1, "each round would flicker"
            watching.send_signal(number)
            end = read_until(ours, lambda text: b"\x1b[?1049l" in text and b"\x1b[?25h" in text)
            assert b"Traceback" not in end
            assert watching.wait(120) == (0 if number == signal.SIGINT else 128 + number)
            assert termios.tcgetattr(theirs) == before
        finally:
            watching.kill()
            watching.wait()
            os.close(ours)
            os.close(theirs)


def read_until(terminal: int, there: Callable[[bytes], bool], seconds: float = 120.0) -> bytes:
    text, end = b"", time.monotonic() + seconds
    while not there(text):
        left = end - time.monotonic()
        assert left > 0, f"waited {seconds} s, saw {text!r}"
        if select.select([terminal], [], [], left)[0]:
            text += os.read(terminal, 65536)
    return text


def test_a_round_without_an_answer_is_shown_and_the_next_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Unreachable("the site does not answer", hint="wait"), KeyboardInterrupt()])

    def site(*_: object) -> dict[str, Any]:
        raise next(answers)

    monkeypatch.setattr(status, "site", site)
    monkeypatch.setattr("bcsctl.redraw.SYSTEM", Fast())
    done = CliRunner().invoke(status.command, ["--watch", "1"], catch_exceptions=False)
    assert (done.exit_code, done.output) == (0, "error: the site does not answer\n  wait\n\n")


class Fast:
    def sleep(self, seconds: float) -> None:
        pass
