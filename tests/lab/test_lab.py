"""The lab itself: what its hosts, lines, power and disks do, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import record, roots, topology
from tests.lab.access import ssh_options
from tests.lab.errors import LabError, LabImpossible
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.shell import sh, wait_for
from tests.lab.topology import PYTHON_OF_BOOKWORM, SF, Host, Site, Topology, Volume

ROOT = Path(__file__).parents[2]
VOLUMES = (Volume("/data/x", "xfs"), Volume("/data/b", "btrfs"), Volume("/data/e", "ext4", 64))
A = Host("sf-a", "sf", 11, volumes=VOLUMES)
B = Host("sf-b", "sf", 12, hidden=PYTHON_OF_BOOKWORM)
FAR = Host("bos-a", "bos", 11)
ALONE = Topology("lab-alone", (SF,), (replace(A, volumes=VOLUMES[2:]),))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running(Topology("lab-self", (SF, Site("bos", 2)), (A, B, FAR))) as lab:
        yield lab


def ssh(lab: Lab, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = ["ssh", "-i", str(lab.ssh_key), *ssh_options(lab.home), "-oBatchMode=yes", f"ansible@{host}", *argv]
    return lab.controller.run(command, check=False)


def ping(lab: Lab, source: str, target: str) -> bool:
    return lab.hosts[source].run(["ping", "-c1", "-W1", target], check=False).returncode == 0


def round_trip_ms(lab: Lab, source: str, target: str) -> float:
    """The least of five: what the line costs, not what a busy machine adds."""
    said = lab.hosts[source].run(["ping", "-c5", "-i0.05", "-W2", target]).stdout
    return float(said.rpartition("= ")[2].split("/")[0])


def test_hosts_are_whole_systems(lab: Lab) -> None:
    for machine in lab.hosts.values():
        assert machine.run(["systemctl", "is-system-running", "--wait"]).stdout == "running\n"
        assert machine.run(["cat", "/proc/1/comm"]).stdout == "systemd\n"
        assert ssh(lab, machine.name, "hostname; sudo id -u").stdout == f"{machine.name}\n0\n"


def test_roots_differ(lab: Lab) -> None:
    assert lab.hosts["sf-a"].run(["python3", "--version"]).stdout.startswith("Python 3.11")
    assert lab.hosts["sf-b"].run(["sh", "-c", "command -v python3"], check=False).stdout == ""


def test_volumes_are_file_systems_of_their_own(lab: Lab) -> None:
    said = lab.hosts["sf-a"].run(["findmnt", "-rno", "TARGET,FSTYPE", "-t", "xfs,btrfs,ext4"]).stdout
    assert {f"{volume.path} {volume.filesystem}" for volume in VOLUMES} <= set(said.splitlines())


def test_a_host_key_that_changed_is_refused(lab: Lab) -> None:
    known = lab.known_hosts.read_text()
    key_of_another = next(line for line in known.splitlines() if line.startswith("sf-b,")).partition(" ")[2]
    try:
        lab.known_hosts.write_text(f"sf-a,{lab.hosts['sf-a'].address} {key_of_another}\n")
        refused = ssh(lab, "sf-a", "true")
    finally:
        lab.known_hosts.write_text(known)
    assert (refused.returncode, "Host key verification failed" in refused.stderr) == (255, True)
    assert ssh(lab, "sf-a", "true").returncode == 0


def test_power_and_reboot_keep_the_disk(lab: Lab) -> None:
    host = lab.hosts["sf-a"]
    host.write("/srv/file", "on the root")
    host.write("/data/x/file", "on a volume")
    identity = "cat /etc/machine-id /srv/file /data/x/file"
    before, boots = host.run(["sh", "-c", identity]).stdout, [host.read("/proc/sys/kernel/random/boot_id")]
    process = host.popen(["sh", "-c", "echo runs; sleep 1000"], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "runs\n"
    host.power_off()
    assert process.wait(120) != 0 and not host.is_on()
    process.stdout.close()
    with pytest.raises(LabError, match="sf-a is off"):
        host.run(["true"])
    assert not ping(lab, "sf-b", "sf-a")
    host.power_on()
    boots.append(host.read("/proc/sys/kernel/random/boot_id"))
    host.reboot()
    boots.append(host.read("/proc/sys/kernel/random/boot_id"))
    assert host.run(["sh", "-c", identity]).stdout == before
    assert len(set(boots)) == 3


def test_a_power_cut_is_silent(lab: Lab) -> None:
    """Who is connected hears nothing: no end of the connection, and no refusal until the host is on again."""
    host = lab.hosts["bos-a"]
    with lab.controller.connect(host.address, 22) as connection:
        connection.recv(100)
        host.power_off()
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        host.power_on()
        connection.settimeout(120)
        connection.sendall(b"still there?\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_wiped_disk_is_empty_and_reached_with_its_new_key(lab: Lab) -> None:
    host, known = lab.hosts["sf-a"], lab.known_hosts.read_text()
    host.write("/srv/gone", "")
    host.write("/data/b/gone", "")
    host.wipe()
    assert host.run(["sh", "-c", "ls /srv /data/b | grep gone"], check=False).stdout == ""
    assert lab.known_hosts.read_text() != known
    assert ssh(lab, "sf-a", "true").returncode == 0


def test_a_cut_line_carries_nothing_until_it_is_healed(lab: Lab) -> None:
    lab.site("bos").cut()
    assert not ping(lab, "sf-a", "bos-a") and ping(lab, "sf-a", "sf-b")
    lab.site("bos").heal()
    lab.hosts["sf-b"].cut()
    assert ping(lab, "sf-a", "bos-a") and not ping(lab, "sf-a", "sf-b")
    lab.hosts["sf-b"].power_off()
    lab.hosts["sf-b"].switch_on()
    assert not ping(lab, "sf-a", "sf-b"), "power does not heal a cable"
    lab.hosts["sf-b"].heal()
    lab.hosts["sf-b"].wait_until_up()
    assert ping(lab, "sf-a", "sf-b")


def test_a_line_can_be_made_long_and_thin(lab: Lab) -> None:
    with lab.controller.connect(lab.hosts["bos-a"].address, 22) as connection:
        assert connection.recv(4) == b"SSH-"
        lab.site("bos").wan(delay_ms=40)
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(1), "a connection outlives the change"
    assert 80 <= round_trip_ms(lab, "sf-a", "bos-a") < 1000
    lab.site("bos").wan(loss=1.0)
    wait_for(lambda: not ping(lab, "sf-a", "bos-a"), 120, "the loss")
    lab.site("bos").wan(rate_mbit=8)
    wait_for(lambda: ping(lab, "sf-a", "bos-a"), 120, "the line")
    began = time.monotonic()
    assert len(ssh(lab, "bos-a", "head -c 1000000 /dev/zero").stdout) == 1000000
    assert time.monotonic() - began > 0.8
    lab.site("bos").wan()
    lab.hosts["bos-a"].wan(delay_ms=20)
    assert 40 <= round_trip_ms(lab, "sf-a", "bos-a") < 1000
    lab.hosts["bos-a"].power_off()
    lab.hosts["bos-a"].power_on()
    assert 40 <= round_trip_ms(lab, "sf-a", "bos-a") < 1000, "power does not shorten a cable"
    lab.hosts["bos-a"].wan()
    wait_for(lambda: round_trip_ms(lab, "sf-a", "bos-a") < 20, 120, "the short line")
    lab.site("bos").cut()
    assert not ping(lab, "sf-a", "bos-a")
    lab.site("bos").heal()
    assert ping(lab, "sf-a", "bos-a")


def test_the_controller_has_the_labs_names_and_a_home_of_its_own(lab: Lab) -> None:
    said = lab.controller.run(["sh", "-c", "getent hosts sf-a; echo $HOME; ls -A ~"]).stdout.splitlines()
    assert said[0].split() == [lab.hosts["sf-a"].address, "sf-a"]
    assert said[1] == str(lab.controller.user_home)
    assert "sf-a" not in Path("/etc/hosts").read_text()


def test_python_3_13() -> None:
    with running(Topology("lab-trixie", (SF,), (Host("sf-new", "sf", 20, root="trixie"),))) as lab:
        assert lab.hosts["sf-new"].run(["python3", "--version"]).stdout.startswith("Python 3.13")


def test_a_root_that_cannot_be_had_is_a_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(roots, "mirror", lambda: "file:///nonexistent/debian")
    with pytest.raises(LabImpossible, match=r"no bookworm root could be built|mmdebstrap is not"):
        roots.ensure("bookworm")
    assert [path.name for path in (tmp_path / "roots").iterdir()] == ["bookworm.lock"]


# Nothing stays


def traces(name: str) -> list[str]:
    """What is there of the lab of that name: processes, cgroups, mounts, loop devices, files.

    Dead processes that the first process of this machine has not yet collected don't count: they have no command line.
    """
    home, cgroup = record.home_of(name), record.cgroup_of(name)
    found = [str(path) for path in (home, cgroup) if path.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"/{cgroup.name}/" in (process / "cgroup").read_text():
                found += filter(None, [(process / "cmdline").read_text().replace("\0", " ")])
            found += [line for line in (process / "mounts").read_text().splitlines() if f"{home}/" in line]
    return found + [
        line for line in sh("losetup", "--list", "--output", "BACK-FILE").splitlines() if f"{home}/" in line
    ]


def around() -> list[str]:
    """What a lab must not touch: interfaces of the root network namespace, named namespaces, locks of nspawn."""
    places = (Path("/run/netns"), Path("/run/systemd/nspawn/locks"), Path("/run/systemd/nspawn/unix-export"))
    return [sh("ip", "-o", "-br", "link"), *(str(file) for place in places for file in place.glob("*"))]


def test_nothing_is_left() -> None:
    before = around()
    with running(ALONE) as lab:
        lab.site("sf").wan(delay_ms=1)
        lab.controller.popen(["setsid", "sleep", "1000"], stdin=subprocess.DEVNULL)
        assert len(traces(ALONE.name)) > 5
        assert around() == before, "while it is up, too"
    assert traces(ALONE.name) == []
    assert around() == before


def test_a_lab_that_fails_half_way_leaves_nothing() -> None:
    impossible = replace(FAR, name="sf-bad", site="sf", volumes=(Volume("/data", "xfs", 1),))
    plan = replace(ALONE, hosts=(*ALONE.hosts, impossible))
    with pytest.raises(LabError, match=r"mkfs\.xfs"), Lab(plan):
        pass
    assert traces(ALONE.name) == []


OWNER = """
import time
from tests.lab.fixture import running
from tests.lab.test_lab import ALONE
with running(ALONE):
    print("up", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """Another process with a lab that is up."""
    with running(ALONE):
        pass  # skips where there can be none
    argv = [sys.executable, "-c", OWNER]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()
            process.wait()
            record.clear(record.home_of(ALONE.name))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(owner: subprocess.Popen[str], number: int) -> None:
    owner.send_signal(number)
    assert owner.wait(120) != 0
    assert traces(ALONE.name) == []


def test_a_later_run_clears_what_a_killed_one_left(owner: subprocess.Popen[str]) -> None:
    with pytest.raises(LabError, match=f"belongs to process {owner.pid}"):
        Lab(ALONE).up()
    assert traces(ALONE.name), "asking does no harm"
    owner.kill()
    owner.wait(120)
    assert traces(ALONE.name), "nobody could clear yet"
    with running(replace(ALONE, name="lab-later")):
        assert traces(ALONE.name) == []


def test_by_hand() -> None:
    environment = {**os.environ, "BCS_LAB": "lab-hand"}

    def by_hand(*argv: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tests.lab", *argv]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    with running(replace(ALONE, name="lab-hand")):
        pass  # skips where there can be none
    try:
        code, said = by_hand("up")
        assert (code, said.count(" on\n")) == (0, len(topology.default().hosts)), said
        assert by_hand("exec", "sf-db1", "hostname") == (0, "sf-db1\n")
        assert by_hand("kill", "sf-db1") == (0, "")
        assert " off\n" in by_hand("status")[1]
        assert by_hand("start", "sf-db1") == (0, "")
        code, said = by_hand("up")
        assert code == 1 and "is up already" in said
        code, said = by_hand("cut", "sf-db9")
        assert code == 1 and "no site or host 'sf-db9'" in said
    finally:
        assert by_hand("down") == (0, "")
    assert traces("lab-hand") == []
