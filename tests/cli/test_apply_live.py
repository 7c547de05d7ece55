"""From an empty directory to a file brought back, as a user types it: node, Ansible, agent and all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Ran, Run

ADDRESS = "my-files/localhost/files"


@pytest.fixture
def bcsctl(run: Run) -> Iterator[Run]:
    """bcsctl whose services are processes, ended afterwards whatever happens."""

    def go(*arguments: str | Path, **options: object) -> Ran:
        return run(*arguments, BCS_SERVICE="detached", **options)

    yield go
    assert go("down").code == 0


def until_point_after(bcsctl: Run, before: int) -> None:
    """Wait until there are more points than `before`."""
    ends = time.monotonic() + 30
    while bcsctl("points", ADDRESS, "--json").json["count"] <= before:
        assert time.monotonic() < ends, bcsctl("status").text
        time.sleep(0.1)


def test_the_first_evening(bcsctl: Run, tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    assert bcsctl("init", repository).code == 0
    (repository / "data" / "ledger.csv").write_text("one\n")

    applied = bcsctl("apply", "--yes", "--wait", "--json", cwd=repository)
    assert applied.code == 0, applied.out
    assert applied.json["converged"] is True
    assert applied.json["noop"] is False
    again = bcsctl("apply", "--yes", "--wait", "--json", cwd=repository)
    assert (again.code, again.json["noop"]) == (0, True)
    assert "No changes" in bcsctl("apply", "--yes", cwd=repository).text

    [source] = bcsctl("status", "--json").json["groups"][0]["sources"]
    assert (source["synced"], source["healthy"], source["protected"]) == ("synced", "healthy", "protected")

    first = bcsctl("points", ADDRESS, "--json").json
    (repository / "data" / "ledger.csv").write_text("two\n")
    until_point_after(bcsctl, first["count"])
    ledger = f"{ADDRESS}:{repository}/data/ledger.csv"
    assert bcsctl("cat", ledger).out == b"two\n"
    assert bcsctl("cat", ledger, "--at", f"point:{first['points'][-1]['point']}").out == b"one\n"

    marked = bcsctl("mark", "my-files", "--label", "evening", "--json")
    assert marked.code == 0, marked.out
    assert bcsctl("ls", ADDRESS, "--at", "mark:evening").code == 0

    restored = bcsctl("restore", ADDRESS, "--to", tmp_path / "back", "--verify", "--json")
    assert restored.code == 0
    assert restored.json["recorded"] is True
    assert (tmp_path / "back" / "ledger.csv").read_text() == "two\n"

    stopped = bcsctl("down", "--json").json["stopped"]
    assert {one["role"] for one in stopped} == {"agent", "node"}
    assert bcsctl("cat", ledger).out == b"two\n"


def test_a_saved_plan_is_applied_as_it_was_shown(bcsctl: Run, tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    assert bcsctl("init", repository).code == 0
    saved = tmp_path / "tonight.plan"
    assert bcsctl("plan", "--out", saved, cwd=repository).code == 0
    done = bcsctl("apply", "--plan", saved, "--yes", "--json")
    assert done.code == 0, done.out
    assert bcsctl("plan", "--detailed-exitcode", cwd=repository).code == 0
    stale = bcsctl("apply", "--plan", saved, "--yes", "--json")
    assert stale.code == 4
    assert "new plan" in stale.json["error"]["hint"]
