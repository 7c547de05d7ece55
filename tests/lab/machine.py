"""A host of the lab as a test sees it: power, reboot, disk, network line, and commands inside."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab import access, disk, namespaces, roots
from tests.lab.errors import LabError
from tests.lab.network import Network
from tests.lab.relay import Shape
from tests.lab.shell import PATH, end_cgroup, joined, sh, wait_for
from tests.lab.topology import Host

POWER_ON = Path(__file__).with_name("power_on.sh")
SYSCALLS = "@default @file-system @mount fanotify_init fanotify_mark open_by_handle_at bpf perf_event_open userfaultfd"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
CAP_SYS_RESOURCE = 24  # linux/capability.h
BOOT_SECONDS = 180.0


@dataclass(slots=True)
class Machine:
    """`home` holds its disk and console, `cgroup` all of its processes."""

    host: Host
    home: Path
    cgroup: Path
    network: Network
    power: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def address(self) -> str:
        return self.network.topology.address(self.host)

    # Power

    def switch_on(self) -> None:
        """Without waiting for it to boot."""
        if self.is_on():
            raise LabError(f"{self.name} is on already")
        self.power_off()  # it may have ended by itself
        public_key = (self.network.home / "id_ed25519.pub").read_text()
        disk.prepare(self.host, self.home, self.network.topology.names(), public_key)
        self.cgroup.mkdir(parents=True)
        self.network.plug(self.host)
        volumes = [(disk.image(volume, self.home), volume) for volume in self.host.volumes]
        mounts = [f"{image}:{image.with_suffix('')}" for image, _ in volumes]
        binds = [f"--bind={image.with_suffix('')}:{volume.path}" for image, volume in volumes]
        argv = [
            "unshare",
            "--mount",
            "--propagation=slave",  # of what others unmount elsewhere nothing stays here
            POWER_ON,
            self.home,
            self.disk if self.disk.is_dir() else roots.ensure(self.host.root),
            *mounts,
            "--",
            *self._nspawn(),
            *binds,
        ]
        with (self.home / "console.log").open("a") as log:
            self.power = subprocess.Popen(
                joined(self.cgroup, [*map(str, argv)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": PATH, "SYSTEMD_LOG_LEVEL": "warning"},
            )

    def wait_until_up(self, seconds: float = BOOT_SECONDS) -> None:
        """Until its sshd answers, seen from the controller. Raises LabError at once when the power goes meanwhile."""
        power = self.power

        def answers() -> bool:
            if power is not None and power.poll() is not None:
                raise LabError(f"{self.name} ended with {power.returncode}: {self.console()[-1000:]}")
            return self._sshd_answers()

        wait_for(answers, seconds, f"sshd of {self.name}")

    def power_on(self) -> None:
        self.switch_on()
        self.wait_until_up()

    def power_off(self) -> None:
        """The plug is pulled: every process ends in the same moment, and nobody hears a last word of it.

        Its disks keep what was written and not yet synced: the kernel is this machine's, which goes on.
        """
        self.network.unplug(self.host)
        end_cgroup(self.cgroup)
        self.gone()
        namespaces.remove(self.network.namespace(self.name))
        wait_for(lambda: not self._loop_devices(), 120, f"the loop devices of {self.name} to go")

    def gone(self) -> None:
        """Its processes have been ended: let go of them."""
        if self.power is not None:
            self.power.wait(120)
            self.power = None

    def reboot(self) -> None:
        """As an administrator does it: services are stopped first."""
        before = self._first_process()
        with suppress(LabError):  # the command is ended by what it does
            self.run(["systemctl", "reboot"])
        wait_for(lambda: self._first_process() not in ("", before), BOOT_SECONDS, f"{self.name} to boot again")
        self.wait_until_up()

    def wipe(self) -> None:
        """Power off, a new empty disk with a new host key, power on. The lab's known_hosts follows."""
        self.power_off()
        shutil.rmtree(self.home)
        self.power_on()
        access.write(self.network.topology, self.network.home)

    def lose_disk(self) -> Path:
        """Power off, and a new disk with nothing at all on it, not even a system: the directory to restore to. What is
        there when the power is switched on again is what boots."""
        self.power_off()
        shutil.rmtree(self.home)
        for name in ("upper", "work", "root", "volumes", "disk"):
            (self.home / name).mkdir(parents=True)
        return self.disk

    @property
    def disk(self) -> Path:
        """The whole disk of a host that has lost the one it was made with."""
        return self.home / "disk"

    def is_on(self) -> bool:
        return bool(self._first_process())

    # Network

    def cut(self) -> None:
        """Unplug its network cable."""
        self.network.cut(self.name)

    def heal(self) -> None:
        self.network.heal(self.name)

    def wan(self, *, delay_ms: float = 0.0, jitter_ms: float = 0.0, loss: float = 0.0, rate_mbit: float = 0.0) -> None:
        """Put a distance between it and its site, each way."""
        self.network.shape(self.name, Shape(delay_ms, jitter_ms, loss, rate_mbit))

    # Inside

    def inside(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
        """The command as one of this machine that runs in the host, as its root."""
        leader = self._first_process()
        if not leader:
            raise LabError(f"{self.name} is off")
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(environment or {})}.items()]
        return ["nsenter", "-t", leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "env", "-i", *variables, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        timeout_seconds: float = 120.0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host. With `check`, raises LabError when it fails, with what it said."""
        done = completed(self.inside(argv, environment), stdin, timeout_seconds)
        return checked(done, f"{self.name}: {' '.join(argv)}") if check else done

    def popen(self, argv: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start a command in the host and don't wait; it ends with the host at the latest."""
        return subprocess.Popen(self.inside(argv), errors="backslashreplace", **options)  # type: ignore[call-overload,no-any-return]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file in the host, with its directories."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.run(["sh", "-c", script, "sh", path, f"{mode:o}"], stdin=text)

    def read(self, path: str) -> str:
        return self.run(["cat", path]).stdout

    def console(self) -> str:
        """What systemd said from the first power on, for messages of failures."""
        return (self.home / "console.log").read_text(errors="replace")

    # Parts

    def _nspawn(self) -> list[str]:
        may_resource = _has_capability(CAP_SYS_RESOURCE)
        return [
            "--quiet",
            f"--directory={self.home / 'root'}",
            "--boot",
            "--keep-unit",
            "--register=no",
            f"--machine={self.name}",
            f"--network-namespace-path={self.network.namespace(self.name)}",
            "--console=passive",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--capability=all",
            *([] if may_resource else ["--drop-capability=CAP_SYS_RESOURCE"]),
            f"--system-call-filter={SYSCALLS}",
            *(["--bind=/dev/fuse"] if Path("/dev/fuse").exists() else []),
            *self.host.nspawn,
        ]

    def _first_process(self) -> str:
        """The process id, on this machine, of the host's systemd; empty when it is off."""
        with suppress(OSError):
            for pid in (self.cgroup / "payload/init.scope/cgroup.procs").read_text().split():
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
                if numbers.split()[-1] == "1":
                    return pid
        return ""

    def _sshd_answers(self) -> bool:
        def greets() -> bool:
            with suppress(OSError), socket.create_connection((self.address, 22), 0.5) as connection:
                return connection.recv(4) == b"SSH-"
            return False

        return namespaces.inside(self.network.controller, greets)

    def _loop_devices(self) -> list[str]:
        """Loop devices over files of this host's volumes, see losetup(8)."""
        devices = json.loads(sh("losetup", "--list", "--json") or "{}").get("loopdevices", [])
        return [each["name"] for each in devices if (each["back-file"] or "").startswith(f"{self.home}/")]


def completed(
    argv: Sequence[str],
    stdin: str | None,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Raises LabError with what it had said when it takes too long."""
    try:
        return subprocess.run(
            argv,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout_seconds,
            env=environment,
            cwd=cwd,
        )
    except subprocess.TimeoutExpired as error:
        said = b"".join(part for part in (error.stdout, error.stderr) if isinstance(part, bytes)).decode(
            errors="replace"
        )
        raise LabError(f"{' '.join(argv)} did not end in {timeout_seconds:g} s: {said[-3000:]}") from None


def checked(done: subprocess.CompletedProcess[str], what: str) -> subprocess.CompletedProcess[str]:
    """Raises LabError with what it said when it failed."""
    if done.returncode:
        raise LabError(f"{what} ended with {done.returncode}: {done.stderr[-3000:]}{done.stdout[-1000:]}")
    return done


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)
