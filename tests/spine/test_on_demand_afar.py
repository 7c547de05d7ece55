"""`restore --on-demand` to another host: its agent makes the tree and fills it from the node, whoever is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.fill.kept import documents, table
from engine.fill.life.choosing import why_not
from engine.fill.life.starting import FILLER, HOLDER, ROLE, living
from tests import plug
from tests.fidelity.walker import differences, walk
from tests.nodes import acts
from tests.spine.test_on_demand import LARGE, make_source, sha
from tests.spine.test_restore_afar import ADDRESS, Hosts

MECHANISMS = ["pre-access", "fuse"]


class Scene:
    """A source of host a; host b has its trees."""

    def __init__(self, hosts: Hosts, source: Path) -> None:
        self.hosts, self.site, self.source = hosts, hosts.site, source
        self.home = hosts.base / "home-b"

    def begin(self, target: Path, *more: str) -> dict[str, Any]:
        return dict(self.site.json("restore", ADDRESS, "--to", f"b:{target}", "--on-demand", *more))

    def one(self, id: str) -> dict[str, Any]:
        [found] = [each for each in self.site.json("recover", "list", "--all")["recoveries"] if each["id"] == id]
        return dict(found)

    def pids(self, id: str) -> dict[str, int]:
        place = documents.place_of(self.home, id)
        found = {role: living(place, role) for role in (ROLE, FILLER, HOLDER)}
        return {role: pid for role, pid in found.items() if pid is not None}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Hosts.up(tmp_path, "ab") as hosts:
        source = tmp_path / "source"
        make_source(source)
        hosts.site.protect(ADDRESS, source)
        hosts.site.wait_protected(ADDRESS)
        made = Scene(hosts, source)
        try:
            yield made
        finally:
            take_away(hosts)


def take_away(hosts: Hosts) -> None:
    """Whatever is left: agents, which would begin trees again, processes, mounts."""
    hosts.stop()
    for home in hosts.base.glob("home-*"):
        plug.take_away(home)


def boot_without_agent(scene: Scene, mechanism: str) -> None:
    """As after a reboot, before the agent is up: nothing of a tree lives, nothing of ours is mounted."""
    scene.hosts.agents["b"].kill()
    scene.hosts.agents["b"].wait()
    plug.pull(scene.home)
    for place in documents.places(scene.home) if mechanism == "fuse" else ():
        plug.unmount(documents.read_recipe(place).dir)


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    why = why_not(request.param, os.fsencode(tmp_path))
    if why:
        pytest.skip(why)
    return str(request.param)


def test_a_tree_on_a_host_is_there_at_once_and_whole_in_the_end(scene: Scene, mechanism: str) -> None:
    target, source = scene.hosts.base / "back", scene.source
    told = scene.begin(target, "--mechanism", mechanism, "--rate", "1KiB")
    assert told["mechanism"] == mechanism and told["host"] == "b" and told["dir"] == str(target)
    assert sorted(each.name for each in target.iterdir()) == sorted(each.name for each in source.iterdir())
    assert (target / "large").stat().st_size == LARGE
    assert set(scene.pids(told["id"])) >= {ROLE, FILLER}
    with (target / "large").open("rb") as file, (source / "large").open("rb") as right:
        file.seek(5 << 20)
        right.seek(5 << 20)
        assert file.read(4096) == right.read(4096)
    assert sha(target / "dir" / "7" / "file") == sha(source / "dir" / "7" / "file")
    now = scene.one(told["id"])
    assert (now["state"], now["host"], now["dir"]) == ("filling", "b", str(target))
    assert now["bytes_total"] > 0 and now["bytes_filled"] < now["bytes_total"]
    finished = scene.site.json("recover", "finish", told["id"])
    assert (finished["state"], finished["bytes_filled"]) == ("ended", finished["bytes_total"])
    assert differences(walk(source), walk(target)) == []
    assert scene.pids(told["id"]) == {} and str(target) not in Path("/proc/mounts").read_text()
    mine = [act for act in acts(scene.site.home) if act["details"].get("restore") == told["id"]]
    assert [act["what"] for act in mine] == ["restoring", "recover", "restore"]
    assert all(act["details"]["host"] == "b" and act["details"]["on_demand"] and act["who"] for act in mine)
    assert mine[-1]["details"]["verified"] and mine[-1]["details"]["state"] == "done"


def test_it_is_steered_from_here(scene: Scene, mechanism: str) -> None:
    target = scene.hosts.base / "back"
    plan = scene.begin(target, "--dry-run")["plan"]
    assert plan["bytes"] - plan["data_bytes"] >= 60 << 20  # the hole
    id = scene.begin(target, "--mechanism", mechanism, "--rate", "1KiB")["id"]
    scene.site.json("recover", "pause", id[:6])
    gone = scene.site.run("recover", "cancel", id, "--gone", "--yes", check=False)
    assert gone.returncode == 4 and "may yet be heard" in gone.stderr.decode(), "its host lives"
    scene.site.wait(lambda: scene.one(id)["state"] == "paused", 120, "the pause")
    assert (scene.one(id)["rate_bytes"], scene.one(id)["seconds_left"]) == (0, None)
    twice = ("restore", ADDRESS, "--to", f"b:{target}", "--on-demand", "--json")
    assert f"recovery {id} fills {target}" in scene.site.run(*twice, check=False).stdout.decode()
    scene.site.json("recover", "resume", id, "--rate", "2KiB")
    scene.site.wait(lambda: scene.one(id)["state"] == "filling", 120, "it to go on")
    cancelled = scene.site.json("recover", "cancel", id, "--yes")
    assert cancelled["state"] == "cancelled" and not target.exists() and scene.pids(id) == {}
    refused = scene.site.run("recover", "finish", id, check=False)
    assert refused.returncode == 4
    end = [act for act in acts(scene.site.home) if act["details"].get("restore") == id][-1]
    assert end["what"] == "restore" and end["details"]["state"] == "cancelled" and not end["details"]["verified"]
    again = scene.begin(target, "--mechanism", mechanism)
    scene.site.json("recover", "finish", again["id"])
    assert differences(walk(scene.source), walk(target)) == []


def test_whoever_is_killed_comes_back(scene: Scene, mechanism: str) -> None:
    """The agent and who tends the tree, the filler, the supervisor, the node; then all that guards it at once."""
    target, source = scene.hosts.base / "back", scene.source
    id = scene.begin(target, "--mechanism", mechanism, "--rate", "1KiB")["id"]

    def read(name: str) -> None:
        assert sha(target / name) == sha(source / name)

    agent = scene.hosts.agents["b"]
    agent.kill()
    agent.wait()
    kill(tending(scene.home, id))
    read("dir/3/file")  # nobody tends it, and it is filled
    scene.hosts.start("b")
    scene.site.wait(lambda: tending(scene.home, id), 120, "somebody to tend it")
    for role in (FILLER, ROLE):
        kill([scene.pids(id)[role]])
        read(f"dir/{4 if role == FILLER else 5}/file")
    scene.site.kill("node")
    done = subprocess.Popen(["cat", target / "dir/6/file"], stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        done.wait(2)
    scene.site.start_node()
    assert done.communicate(timeout=300)[0] == (source / "dir/6/file").read_bytes()
    scene.site.wait(lambda: scene.one(id)["state"] == "filling", 120, "the node to hear of it")
    scene.site.json("recover", "finish", id)
    assert differences(walk(source), walk(target)) == []
    assert scene.pids(id) == {}


def test_a_node_that_stays_away_is_an_error_and_not_zeros(scene: Scene, mechanism: str) -> None:
    """And what has begun by then is guarded again without the node: as after a reboot, when it is not there yet."""
    target, site = scene.hosts.base / "back", scene.site
    on_demand = {"mechanism": mechanism, "rate_bytes": 1000, "away_seconds": 2}
    asked = {"address": ADDRESS, "host": "b", "dir": str(target), "on_demand": on_demand}
    id = site.request("POST", "/v1/restores", asked)["id"]
    site.wait(lambda: scene.one(id)["state"] == "filling", 120, "the tree")
    site.kill("node")
    with pytest.raises(OSError) as failed:
        (target / "dir/6/file").read_bytes()
    assert failed.value.errno == errno.EIO
    boot_without_agent(scene, mechanism)
    scene.hosts.start("b")
    site.wait(
        lambda: FILLER in scene.pids(id) and os.path.exists(target / "dir/8/file"), 120, "the tree to be there again"
    )
    with pytest.raises(OSError) as failed:
        (target / "dir/8/file").read_bytes()
    site.start_node()
    for name in ("dir/6/file", "dir/8/file"):
        site.wait(lambda name=name: reads(target / name), 120, f"{name} to be read again")  # type: ignore[misc]
        assert sha(target / name) == sha(scene.source / name)
    site.json("recover", "finish", id)
    assert differences(walk(scene.source), walk(target)) == []


def test_a_disk_that_has_another_number_after_a_reboot(scene: Scene, mechanism: str) -> None:
    """The files are known by their device's number, which is given anew at each boot."""
    target = scene.hosts.base / "back"
    id = scene.begin(target, "--mechanism", mechanism, "--rate", "1KiB")["id"]
    boot_without_agent(scene, mechanism)
    place = documents.place_of(scene.home, id)
    files = [replace(file, dev=file.dev + 1) for file in table.read(place.files)]
    table.write(place.files, files)
    scene.hosts.start("b")
    scene.site.wait(lambda: documents.read_state(place).guard and FILLER in scene.pids(id), 120, "a filler again")
    scene.site.wait(lambda: table.read(place.files)[0].dev != files[0].dev, 120, "the number to be found")
    scene.site.wait(lambda: reads(target / "dir/8/file"), 120, "the tree to be there again")
    assert sha(target / "dir/8/file") == sha(scene.source / "dir/8/file")
    scene.site.json("recover", "finish", id)
    assert differences(walk(scene.source), walk(target)) == []


def reads(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def tending(home: Path, id: str) -> list[int]:
    """The process that tends a tree."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"engine.agent.restore.on_demand.process" in words and id.encode() in words:
                found.append(int(entry.name))
    return found


def kill(pids: list[int]) -> None:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("{base}/home-b/x", "own files"),
        ("{base}/source", "is not empty"),
        ("/etc/bcs-test-nothing", "belongs to the system"),
        ("{base}/shared/x", "others than root"),
    ],
)
def test_a_host_refuses_what_it_must_not_write_to(scene: Scene, target: str, why: str) -> None:
    (scene.hosts.base / "shared").mkdir()
    (scene.hosts.base / "shared").chmod(0o777)
    where = target.format(base=scene.hosts.base)
    done = scene.site.run("restore", ADDRESS, "--to", f"b:{where}", "--on-demand", "--json", check=False)
    assert done.returncode == 4 and why in json.loads(done.stdout)["error"]["message"], done.stdout
    assert scene.site.json("recover", "list")["recoveries"] == []


def test_ctrl_c_takes_it_back(scene: Scene) -> None:
    """While nobody is there to make it, too: the host hears of it when it comes back, and has nothing to make."""
    agent = scene.hosts.agents["b"]
    agent.send_signal(signal.SIGSTOP)
    target = scene.hosts.base / "back"
    restore = scene.hosts.command("restore", ADDRESS, "--to", f"b:{target}", "--on-demand")
    scene.site.wait(lambda: scene.site.json("recover", "list")["recoveries"], 120, "the order")
    restore.send_signal(signal.SIGINT)
    restore.communicate(timeout=120)
    assert restore.returncode == 130
    [row] = scene.site.json("recover", "list")["recoveries"]
    assert row["state"] == "cancelling"
    agent.send_signal(signal.SIGCONT)
    scene.site.wait(lambda: scene.one(row["id"])["state"] == "cancelled", 120, "the host to hear of it")
    assert not target.exists() and scene.pids(row["id"]) == {}
