"""A real node's history as a file system, handed on by Samba: read over the network, through the node's restart.

The hosts' root has no Samba: the node borrows this machine's, which is another Debian of the same release or is not
there.
"""

from __future__ import annotations

import json
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import ROOT
from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.policies import TREE, site

NODE, SOURCE = "sf-bcs1", "sf-db1"
ADDRESS, PAST, LENT = f"work/{SOURCE}/files", "/mnt/past", "/opt/lent"
LIBRARIES = f"lib/{sysconfig.get_config_var('MULTIARCH')}"
MODULES = Path("/usr") / LIBRARIES / "samba"
POSSIBLE = MODULES.is_dir() and all(shutil.which(name) for name in ("smbd", "smbclient"))
CONFIGURATION = f"""
[global]
    map to guest = Bad User
    guest account = root
    disable netbios = yes
    smb ports = 445
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes
    private dir = /run/share
    lock directory = /run/share
    state directory = /run/share
    cache directory = /run/share
    pid directory = /run/share
    ncalrpc dir = /run/share/ncalrpc
    log file = /run/share/log
[history]
    path = {PAST}
    read only = yes
    guest ok = yes
    map archive = no
"""
SMBD = f"""
set -e
mkdir -p /run/share
cd {LENT}
exec "$(echo lib64/ld-linux-*.so.* lib/ld-linux-*.so.* | tr ' ' '\\n' | grep -v '[*]' | head -1)" \\
    --library-path {LENT}/{LIBRARIES}:{LENT}/{LIBRARIES}/samba \\
    sbin/smbd --foreground --no-process-group -s /etc/share.conf
"""


@dataclass(frozen=True, slots=True)
class Share:
    lab: Lab
    policies: Path

    def bcsctl(self, *arguments: str) -> Any:
        command = [str(ROOT / ".venv" / "bin" / "bcsctl"), *arguments, "--json"]
        done = self.lab.controller.run(command, cwd=self.policies, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def ask(self, command: str, *, check: bool = True) -> str:
        """What smbclient on the controller says to a command."""
        configuration = self.policies / "smb.conf"
        configuration.touch()
        argv = ["smbclient", f"//{NODE}/history", "-N", "-s", str(configuration), "-c", command]
        done = self.lab.controller.run(argv, cwd=self.policies, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def fetched(self, moment: str, name: str) -> str:
        to = self.policies / "fetched"
        source = ADDRESS.replace("/", "\\")
        self.ask(f'get "{source}\\{moment}\\{name}" "{to}"')
        return to.read_text()


def until(condition: Callable[[], Any], seconds: float, told: Callable[[], Any]) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, told()
        time.sleep(0.3)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    if not POSSIBLE:
        pytest.skip("needs smbd and smbclient (Debian: samba, smbclient)")
    plan = topology.default("shared-mount")
    lent = (f"--bind-ro=/usr:{LENT}", f"--bind-ro={MODULES}")
    hosts = tuple(replace(host, nspawn=lent if host.name == NODE else ()) for host in plan.hosts)
    with running(replace(plan, hosts=hosts)) as lab:
        (tmp_path / "site.yaml").write_text(site(lab.inventory, SOURCE))
        lab.hosts[SOURCE].run(["sh", "-c", f"mkdir -p {TREE}/dir && echo first >{TREE}/dir/file"])
        found = Share(lab, tmp_path)
        assert found.bcsctl("apply", "--yes", "--wait")["converged"]
        yield found


def test_a_site_is_mounted_on_its_node_and_shared(share: Share) -> None:
    node, source = share.lab.hosts[NODE], share.lab.hosts[SOURCE]
    [mark] = share.bcsctl("mark", "work", "--label", "before")["marks"]
    assert mark["done"]
    [point] = [each for each in share.bcsctl("points", ADDRESS)["points"] if each["label"] == "before"]
    source.run(["sh", "-c", f"echo second >{TREE}/dir/file"])
    node.run(["mkdir", PAST])
    mount = ["sh", "/opt/bcs-node/current/start", "-m", "bcsctl", "mount", PAST, "--daemon", "--json"]
    told = json.loads(node.run(mount).stdout)
    node.write("/etc/share.conf", CONFIGURATION)
    node.write("/root/share.sh", SMBD)
    node.run(["systemd-run", "--unit=share", "sh", "/root/share.sh"])

    def journal() -> str:
        return node.run(["journalctl", "--no-pager", "-u", "share"], check=False).stdout

    until(lambda: "blocks" in share.ask("ls", check=False), 60, journal)

    then = point["at"].replace(":", "-")  # a Windows name has no colon
    until(lambda: share.fetched("latest", "dir\\file") == "second\n", 60, journal)
    assert share.fetched(then, "dir\\file") == "first\n"
    there = f"{ADDRESS}/{then}/dir/added".replace("/", "\\")
    refused = share.ask(f'put "{share.policies}/fetched" "{there}"', check=False)
    assert "NT_STATUS_ACCESS_DENIED" in refused or "NT_STATUS_MEDIA_WRITE_PROTECTED" in refused, refused
    node.run(["systemctl", "restart", "bcs-node"])
    assert share.fetched(then, "dir\\file") == "first\n"
    source.run(["sh", "-c", f"echo third >{TREE}/dir/file"])
    until(lambda: share.fetched("latest", "dir\\file") == "third\n", 60, journal)

    node.run(["systemctl", "stop", "share"])
    node.run(["umount", PAST])
    assert PAST not in node.read("/proc/mounts")
    until(lambda: node.run(["test", "-e", f"/proc/{told['pid']}"], check=False).returncode != 0, 30, lambda: told)
