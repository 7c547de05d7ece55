"""A site of real hosts by `bcsctl apply` alone: from nothing to protected, one host down, a node down, removal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "policies" / "examples" / "site"
UNIT = "/etc/systemd/system/bcs-agent.service"
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Done:
    """What a command came to. `seconds` by the wall."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value

    @property
    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["kind"], row["name"]): row for row in self.json["results"]}

    @property
    def changes(self) -> list[str]:
        return [f"{each['action']} {each['kind']} {each['name']}" for each in self.json["changes"]]


@dataclass(frozen=True)
class Site:
    """The lab and a repository of policies for it, as an administrator has them."""

    lab: Lab
    program: Path
    repository: Path
    home: Path

    def run(self, *words: str) -> Done:
        begun = time.monotonic()
        done = self.lab.controller.run(
            self.argv(*words), check=False, cwd=self.repository, environment=self.environment, timeout_seconds=400
        )
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)

    def start(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return self.lab.controller.popen(
            self.argv(*words), environment=self.environment, cwd=self.repository, stdout=pipe, stderr=pipe
        )

    def argv(self, *words: str) -> list[str | Path]:
        return [sys.executable, "-m", "bcsctl", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {"BCS_HOME": str(self.home), "PYTHONPATH": str(self.program)}

    def apply(self, *words: str) -> Done:
        return self.run("apply", "--yes", "--json", *words)

    def plan(self) -> Done:
        return self.run("plan", "--json")

    def change(self, file: str, old: str, new: str) -> None:
        path = self.repository / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def settled(self) -> None:
        """The example's own policies, applied and protected, whatever the test before has left."""
        for file in ("site.yaml", "groups.yaml"):
            shutil.copy(EXAMPLE / file, self.repository / file)
        for host in self.lab.hosts.values():
            if not host.is_on():
                host.power_on()
        done = self.apply("--wait", "--confirm", "0")
        if done.code == 4:  # what was changed before shortens or stops something
            done = self.apply("--wait", "--confirm", str(done.json["error"]["details"]["sources"]))
        assert done.code == 0, done.out + done.err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(topology.default("apply")) as lab:
        folder = tmp_path_factory.mktemp("site")
        repository = folder / "repository"
        shutil.copytree(EXAMPLE, repository)
        # How to reach them is the lab's to say; which are databases and which are spare, the repository's.
        shutil.copy(lab.inventory, repository / "inventory" / "lab.json")
        for host, place in (("sf-db1", "/srv/finance"), ("sf-mail1", "/srv/mail")):
            lab.hosts[host].run(["sh", "-c", f"mkdir -p {place}/deep && seq 1000 > {place}/deep/numbers"])
        git(repository, "init", "-q")
        git(repository, "add", ".")
        git(repository, "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "commit", "-q", "-m", "Policies")
        yield Site(lab, program_of(folder), repository, folder / "home")


def git(repository: Path, *words: str) -> str:
    argv = ["git", "-C", str(repository), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def program_of(folder: Path) -> Path:
    """The program as it is now: its version is one of its sources, which somebody may be writing meanwhile."""
    for part in ("bcsctl", "engine", "reports", "playbooks", "policies"):
        shutil.copytree(ROOT / part, folder / "program" / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "program"


def test_from_nothing_to_protected_and_then_nothing_to_do(site: Site) -> None:
    done = site.apply("--wait")
    assert done.code == 0, done.out + done.err
    print(f"a node and three agents from nothing to protected: {done.seconds:.1f} s")
    assert done.json["converged"] is True
    assert {key: (row["state"], row["site"]) for key, row in done.rows.items()} == {
        ("Node", "sf-bcs1"): ("changed", "sf"),
        ("Agent", "sf-db1"): ("changed", "sf"),
        ("Agent", "sf-db3"): ("changed", "sf"),
        ("Agent", "sf-mail1"): ("changed", "sf"),
        ("Source", "finance/sf-db1/files"): ("protected", "sf"),
        ("Source", "mail/sf-mail1/files"): ("protected", "sf"),
    }
    assert done.json["numbers"] == {"sf": 1}
    credentials = site.lab.controller.user_home / ".config" / "bcs" / "credentials.json"
    assert credentials.stat().st_mode & 0o777 == 0o600

    again = site.plan()
    assert (again.code, again.changes, again.json["noop"], again.json["bases"]) == (0, [], True, {"sf": 1}), again.out
    nothing = site.apply("--wait")
    assert (nothing.code, nothing.json["noop"], nothing.json["converged"]) == (0, True, True)
    assert site.run("plan").out.startswith("No changes: 5 things")

    (applied,) = site.run("history", "--json").json["applied"]
    assert (applied["number"], applied["commit"]) == (1, git(site.repository, "rev-parse", "HEAD"))
    assert applied["dirty"] is False and "@" in applied["by"]
    assert applied["sources"] == ["finance/sf-db1/files", "mail/sf-mail1/files"]


def test_a_host_that_is_down_is_a_row_and_the_next_apply_heals_it(site: Site) -> None:
    site.settled()
    mail = site.lab.hosts["sf-mail1"]
    mail.power_off()
    site.change("site.yaml", "memoryLimit: 512MiB", "memoryLimit: 640MiB")
    site.change("groups.yaml", "rpo: 5s", "rpo: 9s")
    done = site.apply("--wait", "--wait-seconds", "60")
    assert done.code == 1, done.out + done.err
    rows = done.rows
    assert rows["Agent", "sf-mail1"]["state"] == "unreachable" and rows["Agent", "sf-mail1"]["hint"]
    assert rows["Agent", "sf-db1"]["ok"] and rows["Agent", "sf-db3"]["ok"]
    assert rows["Source", "finance/sf-db1/files"]["state"] == "protected"
    assert not rows["Source", "mail/sf-mail1/files"]["ok"] and rows["Source", "mail/sf-mail1/files"]["message"]
    assert done.json["converged"] is False

    left = site.plan()
    # Silent since a while, or, when that is not long yet, with other settings than it should have.
    assert left.changes in (["start Agent sf-mail1"], ["update Agent sf-mail1"]), left.out
    mail.power_on()
    healed = site.apply("--wait")
    assert (healed.code, healed.json["converged"]) == (0, True), healed.out + healed.err
    assert site.plan().json["noop"] is True


def test_agents_obey_other_settings_without_a_restart(site: Site) -> None:
    site.settled()
    agents = [site.lab.hosts[name] for name in ("sf-db1", "sf-mail1", "sf-db3")]
    pids = [agent.run(["systemctl", "show", "bcs-agent", "--property=MainPID", "--value"]).stdout for agent in agents]
    site.change("site.yaml", "limit: 20MiB/s", "limit: 30MiB/s")
    plan = site.plan()
    assert plan.changes == ["update Site sf"], plan.out
    assert set(plan.json["changes"][0]["fields"]) == {"spec.agent.bandwidth[0].limit"}
    assert site.apply("--wait").code == 0
    told = "grep -c '\"bytes_a_second\": 31457280' /var/lib/bcs-agent/agent/desired.json"
    assert [agent.run(["sh", "-c", told]).stdout.strip() for agent in agents] == ["1"] * 3

    site.change("site.yaml", "memoryLimit: 512MiB", "memoryLimit: 640MiB")
    plan = site.plan()
    assert plan.changes == [
        "update Agent sf-db1", "update Agent sf-db3", "update Agent sf-mail1", "update Site sf",
    ], plan.out  # fmt: skip
    done = site.apply("--wait")
    assert done.code == 0, done.out + done.err
    bound = ["systemctl", "show", "bcs-agent", "--property=MemoryMax,NeedDaemonReload", "--value"]
    assert [agent.run(bound).stdout.split() for agent in agents] == [[str(640 << 20), "no"]] * 3
    now = [agent.run(["systemctl", "show", "bcs-agent", "--property=MainPID", "--value"]).stdout for agent in agents]
    assert now == pids
    assert site.plan().json["noop"] is True


def test_a_node_that_does_not_answer_is_healed_and_then_the_rest_is_done(site: Site) -> None:
    site.settled()
    number = site.plan().json["bases"]["sf"]
    site.lab.hosts["sf-bcs1"].run(["systemctl", "stop", "bcs-node"])
    site.change("groups.yaml", "rpo: 30s", "rpo: 31s")
    seen = site.plan()
    assert (seen.changes, seen.json["unknown"]) == (["start Node sf-bcs1"], ["sf"]), seen.out
    assert "does not answer" in seen.json["changes"][0]["reason"]
    done = site.apply("--wait")
    assert (done.code, done.json["converged"]) == (0, True), done.out + done.err
    assert done.json["numbers"] == {"sf": number + 1}
    assert "update ProtectionGroup mail" in done.changes
    assert site.plan().json["noop"] is True


def test_removing_a_group_needs_its_number_and_takes_the_agent_away(site: Site) -> None:
    site.settled()
    text = (site.repository / "groups.yaml").read_text()
    (site.repository / "groups.yaml").write_text(text.split("\n---\n")[0] + "\n")
    refused = site.apply()
    assert refused.code == 4
    assert "--confirm 1" in refused.json["error"]["hint"]
    mail = site.lab.hosts["sf-mail1"]
    assert mail.run(["systemctl", "is-active", "bcs-agent"]).stdout.strip() == "active"

    done = site.apply("--confirm", "1")
    assert done.code == 0, done.out + done.err
    assert done.rows["Agent", "sf-mail1"]["state"] == "changed"
    assert mail.run(["systemctl", "is-active", "bcs-agent"], check=False).stdout.strip() != "active"
    assert mail.run(["ls", "/opt/bcs-agent"], check=False).returncode != 0
    assert mail.read("/srv/mail/deep/numbers").startswith("1\n2\n")
    assert site.plan().json["noop"] is True

    site.settled()  # the group is back, and its host is let in again
    assert site.plan().json["noop"] is True


def test_of_two_applies_at_once_the_second_is_refused(site: Site) -> None:
    site.settled()
    site.change("groups.yaml", "rpo: 5s", "rpo: 8s")
    both = [site.start("apply", "--yes", "--json") for _ in range(2)]
    told = [process.communicate(timeout=300) for process in both]
    codes = sorted(process.returncode for process in both)
    # One may have planned after the other was done: then it had nothing to do.
    assert codes in ([0, 4], [0, 0]), told
    for process, (out, _) in zip(both, told, strict=True):
        if process.returncode == 4:
            assert "came first" in json.loads(out)["error"]["message"]
    assert site.plan().json["noop"] is True


def test_who_has_no_credentials_gets_some_and_sees_what_is_there(site: Site) -> None:
    site.settled()
    number = site.plan().json["bases"]["sf"]
    credentials = site.lab.controller.user_home / ".config" / "bcs" / "credentials.json"
    credentials.unlink()
    assert "create Node sf-bcs1" in site.plan().changes
    done = site.apply("--wait")
    assert (done.code, done.json["numbers"]) == (0, {"sf": number}), done.out + done.err
    assert {row["kind"] for row in done.json["results"]} == {"Node", "Source"}
    assert site.plan().json["noop"] is True


def test_a_node_of_another_journal_is_refused(site: Site) -> None:
    site.settled()
    node = site.lab.hosts["sf-bcs1"]
    node.run(["sh", "-c", "systemctl stop bcs-node && mv /var/lib/bcs/journal /var/lib/bcs/journal.away"])
    node.run(["sh", "-c", "rm -f /var/lib/bcs/node/tls.*; systemctl start bcs-node"])
    try:
        refused = site.plan()
        assert refused.code == 4, refused.out
        assert "is not the site sf" in refused.json["error"]["message"]
    finally:
        node.run(["sh", "-c", "systemctl stop bcs-node; cd /var/lib/bcs; rm -rf journal; mv journal.away journal"])
        node.run(["sh", "-c", "rm -f /var/lib/bcs/node/tls.*; systemctl start bcs-node"])
    site.settled()


def test_a_check_sees_what_was_changed_by_hand(site: Site) -> None:
    site.settled()
    same = site.run("plan", "--check", "--json")
    assert same.code == 0, same.out + same.err
    assert {(row["kind"], row["name"]): (row["state"], row["diff"]) for row in same.json["hosts"]} == {
        ("Node", "sf-bcs1"): ("ok", []),
        ("Agent", "sf-db1"): ("ok", []),
        ("Agent", "sf-db3"): ("ok", []),
        ("Agent", "sf-mail1"): ("ok", []),
    }
    site.lab.hosts["sf-db1"].run(["sed", "-i", "s/^MemoryMax=.*/MemoryMax=123M/", UNIT])
    told = site.run("plan", "--check", "--json")
    (row,) = [row for row in told.json["hosts"] if row["state"] != "ok"]
    assert (row["name"], row["state"]) == ("sf-db1", "changed") and any(
        "MemoryMax=123M" in text for text in row["diff"]
    )
    assert "MemoryMax=123M" in site.lab.hosts["sf-db1"].read(UNIT)
