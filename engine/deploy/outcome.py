"""What came of an Ansible run: its events folded, host by host, into a state, one message and a hint."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_STEPS = frozenset({"start", "ok", "failed", "skipped", "unreachable"})
_ASK_FOR_KEY = "ssh-keyscan -t ed25519 {host} shows its key: compare it with the host's own, add it to known_hosts"
_HINTS = (
    ("HOST IDENTIFICATION HAS CHANGED", "if the host was set up anew: ssh-keygen -R {host}, then " + _ASK_FOR_KEY),
    ("Host key verification failed", _ASK_FOR_KEY),
    ("host key is known", _ASK_FOR_KEY),
    ("sudo", "give the inventory a way to become root: sudo without a password, or ansible_become_password"),
    ("Permission denied (", "check ansible_user and ansible_ssh_private_key_file in the inventory"),
    ("unreachable", "check that the host is up and that ssh reaches it as the inventory says"),
    ("Permission denied", "check the user and its rights: become in the inventory, or the owner of the directory"),
    ("No space left", "free some space on the host"),
    ("interpreter", "name a Python 3.11 or newer in agent_python"),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of one host: `state` is start, ok, changed, skipped, failed or unreachable; `seconds` it took."""

    host: str
    task: str
    state: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskResult:
    name: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """`state` is ok, changed, failed or unreachable; `message` and `hint` are empty unless it went wrong.

    `diff` lists what a task changed, or in check mode would change, as unified as Ansible gives it. `facts` is what
    tasks told under the name `bcs`: of the host's look python, machine, enrolled; of a node its answers.
    """

    state: str
    message: str = ""
    hint: str = ""
    tasks: tuple[TaskResult, ...] = ()
    diff: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.state in ("ok", "changed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hosts in the order in which they first did something; none when the pattern matched none."""

    hosts: Mapping[str, HostOutcome]

    @property
    def ok(self) -> bool:
        return all(host.ok for host in self.hosts.values())

    @property
    def changed(self) -> bool:
        return any(host.state == "changed" for host in self.hosts.values())


class Tally:
    """Takes ansible-runner's events as they come; `outcome` is their sum."""

    def __init__(self, on_event: Callable[[Progress], None] | None = None) -> None:
        self._on_event = on_event or (lambda progress: None)
        self._tasks: dict[str, list[TaskResult]] = {}
        self._diffs: dict[str, list[str]] = {}
        self._faults: dict[str, tuple[str, str, str]] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self.last_said = ""

    def take(self, event: Mapping[str, Any]) -> bool:
        """False, always: the runner need not keep the event on disk."""
        kind = str(event.get("event", ""))
        data = event.get("event_data") or {}
        if kind in ("error", "warning", "verbose") and (said := str(event.get("stdout", "")).strip()):
            if "ERROR" in said or not self.last_said:
                self.last_said = said.splitlines()[0]
        elif kind.removeprefix("runner_on_") in _STEPS and "host" in data:
            self._step(kind.removeprefix("runner_on_"), data)
        return False

    def outcome(self) -> Outcome:
        return Outcome({host: self._of(host) for host in self._tasks})

    def _step(self, kind: str, data: Mapping[str, Any]) -> None:
        host, task, result = str(data["host"]), str(data.get("task", "")), data.get("res") or {}
        tasks = self._tasks.setdefault(host, [])
        task = task.partition(" : ")[2] or task  # without the role's name
        if kind == "start":
            self._on_event(Progress(host, task, "start"))
            return
        state = _state(kind, data, result)
        seconds = round(float(data.get("duration") or 0.0), 3)
        tasks.append(TaskResult(task, state, seconds))
        self._diffs.setdefault(host, []).extend(_diff(result.get("diff")))
        if isinstance(result.get("bcs"), Mapping):
            self._facts.setdefault(host, {}).update(result["bcs"])
        if state in ("failed", "unreachable"):
            # The first one: what is done about it may fail in its turn.
            self._faults.setdefault(host, (state, *_fault(host, task, state, result)))
        self._on_event(Progress(host, task, state, seconds))

    def _of(self, host: str) -> HostOutcome:
        tasks, diff = tuple(self._tasks[host]), tuple(self._diffs.get(host, ()))
        facts = self._facts.get(host, {})
        if host in self._faults:
            state, message, hint = self._faults[host]
            if "back_to" in facts:
                message += f"; version {facts['back_to']} runs again"
            return HostOutcome(state, message, hint, tasks, diff, facts)
        changed = any(task.state == "changed" for task in tasks)
        return HostOutcome("changed" if changed else "ok", tasks=tasks, diff=diff, facts=facts)


def _state(kind: str, data: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if kind == "failed":
        return "ok" if data.get("ignore_errors") else "failed"
    if kind == "ok":
        # Ansible hides whether a secret was written; tasks with secrets run only where there is something to write.
        return "changed" if result.get("changed") or "censored" in result else "ok"
    return kind


def _fault(host: str, task: str, state: str, result: Mapping[str, Any]) -> tuple[str, str]:
    """(one line that says what went wrong, what to do about it). Our own modules say both themselves."""
    if result.get("hint"):
        return " ".join(str(result.get("msg")).split()), str(result["hint"])
    said = str(result.get("msg") or result.get("module_stderr") or result.get("stderr") or "no reason given")
    detail = str(result.get("stderr") or result.get("module_stderr") or "").strip()
    if said.startswith(("non-zero return code", "MODULE FAILURE")) and detail:
        said = detail.splitlines()[-1]
    text = f"{state} {said} {detail}"
    hint = next((hint for word, hint in _HINTS if word in text), "run the playbook by hand with -vvv to see more")
    return f"{task}: {' '.join(said.split())}", hint.replace("{host}", host)


def _diff(found: Any) -> list[str]:
    """The differences of one task, each as one text; empty ones left out."""
    parts = found if isinstance(found, list) else [found] if found else []
    texts = []
    for part in parts:
        if "prepared" in part:
            texts.append(str(part["prepared"]))
            continue
        before, after = (str(part.get(name) or "").splitlines() for name in ("before", "after"))
        where = str(part.get("after_header") or part.get("before_header") or "")
        lines = difflib.unified_diff(before, after, where, where, lineterm="")
        texts.append("\n".join(lines))
    return [text for text in texts if text.strip()]
