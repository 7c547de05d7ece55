"""What a run's events come to, host by host: a state, one message, a hint, what it was told."""

from __future__ import annotations

from typing import Any

import pytest

from engine.deploy.outcome import HostOutcome, Tally


def event(kind: str, task: str = "agent : Look at the host", host: str = "h", **result: Any) -> dict[str, Any]:
    data = {"host": host, "task": task, "res": result, "duration": 0.25}
    return {"event": f"runner_on_{kind}", "event_data": data}


def outcome(*events: dict[str, Any]) -> HostOutcome:
    tally = Tally()
    for each in events:
        tally.take(each)
    return tally.outcome().hosts["h"]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Failed to connect to the host via ssh: Host key verification failed.", "ssh-keyscan -t ed25519 h shows"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "ssh-keygen -R h"),
        ("ann@h: Permission denied (publickey).", "ansible_user"),
        ("ssh: connect to host h port 22: No route to host", "check that the host is up"),
    ],
)
def test_what_ssh_says_has_its_hint(said: str, hint: str) -> None:
    row = outcome(event("start"), event("unreachable", msg=said))
    assert (row.state, row.ok) == ("unreachable", False)
    assert hint in row.hint and "\n" not in row.message


def test_our_own_modules_say_both_themselves() -> None:
    row = outcome(event("failed", msg="h has no\nPython", hint="install one"))
    assert (row.message, row.hint) == ("h has no Python", "install one")


def test_the_first_fault_counts_and_what_runs_instead_is_said() -> None:
    row = outcome(
        event("ok", bcs={"python": "3.11"}),
        event("failed", "node : Run the node", msg="it ended at once", hint="look"),
        event("ok", "node : Go back", changed=True, bcs={"back_to": "v1"}),
        event("failed", "node : Say that it failed", msg="Failed as requested from task"),
    )
    assert (row.message, row.hint) == ("it ended at once; version v1 runs again", "look")
    assert row.facts == {"python": "3.11", "back_to": "v1"}
    assert [task.name for task in row.tasks] == ["Look at the host", "Run the node", "Go back", "Say that it failed"]


def test_a_written_secret_is_a_change_and_shows_nothing() -> None:
    row = outcome(event("ok", censored="the output has been hidden"))
    assert (row.state, row.diff) == ("changed", ())


def test_differences_are_unified_and_other_events_no_steps() -> None:
    change = {"before_header": "/etc/x", "after_header": "/etc/x", "before": "a\nb\n", "after": "a\nc\n"}
    row = outcome(event("ok", changed=True, diff=[change, {"before": "same", "after": "same"}]), event("file_diff"))
    assert len(row.tasks) == 1 and row.state == "changed"
    (shown,) = row.diff
    assert shown.splitlines() == ["--- /etc/x", "+++ /etc/x", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]
