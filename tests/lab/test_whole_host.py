"""A host loses its disk, system and all: what is restored to a new one boots, and its services go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import ROOT
from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.policies import site
from tests.lab.topology import Topology

HOST, PORT = "sf-db1", 8000
PLAN = Topology("wholehost", (topology.SF,), (topology.NODE, topology.DATABASE))
UNIT = f"""
[Unit]
Description=An application
[Service]
User=app
WorkingDirectory=/srv/app
ExecStartPre=/bin/sh -c 'echo started >>starts'
ExecStart=/usr/bin/python3 -m http.server {PORT}
[Install]
WantedBy=multi-user.target
"""
INSTALL = """
set -eu
useradd --system --home-dir /srv/app --create-home app
mkdir -p /srv/app/orders
chown -R app:app /srv/app
printf 'set-user-id' >/usr/local/bin/special
chmod 4755 /usr/local/bin/special
setfattr -n user.origin -v "by hand" /usr/local/bin/special
setfacl -m u:app:rw /etc/motd
ln -s /srv/app /etc/app-data
mkfifo /srv/app/queue
systemctl daemon-reload
systemctl enable --now app.service
"""
"""What an administrator has made of this host."""


class Scene:
    def __init__(self, lab: Lab, policies: Path) -> None:
        self.lab, self.policies, self.host = lab, policies, lab.hosts[HOST]

    def bcsctl(self, *arguments: str | Path) -> Any:
        command = [str(ROOT / ".venv" / "bin" / "bcsctl"), *map(str, arguments), "--json"]
        return json.loads(self.lab.controller.run(command, cwd=self.policies).stdout)

    def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        ends = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < ends, self.bcsctl("status")
            time.sleep(0.3)
        return value

    def source(self) -> dict[str, Any]:
        row: dict[str, Any] = self.bcsctl("status")["groups"][0]["sources"][0]
        return row

    def complete_since(self, host: str) -> Callable[[], bool]:
        now = self.lab.hosts[host].run(["date", "-u", "+%Y-%m-%dT%H:%M:%S.%6NZ"]).stdout.strip()
        return lambda: (self.source()["through_at"] or "") > now

    def answer(self, path: str) -> str:
        url = f"http://{HOST}:{PORT}{path}"
        code = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode(), end='')"
        return self.lab.controller.run(["python3", "-c", code]).stdout

    def manifest(self) -> list[str]:
        """Every file of the host with its attributes, but for what a boot or a running service changes."""
        script = (Path(__file__).parent / "on_hosts" / "manifest.py").read_text()
        found = []
        for tree in ("/etc", "/usr", "/srv", "/root", "/home", "/opt", "/var/lib/dpkg"):
            found += self.host.run(["python3", "-", tree], stdin=script).stdout.splitlines()
        changing = ("starts", ".pyc", "__pycache__", '[".updated"', '["resolv.conf"')
        # A file that was written to through overlayfs may count a link that nobody finds a name for: the last column.
        told = [json.dumps(json.loads(line)[:-1]) for line in found]
        return sorted(line for line in told if not any(name in line for name in changing))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A host with an application, protected as a whole."""
    with running(PLAN) as lab:
        policies = tmp_path / "policies"
        policies.mkdir()
        text = site(lab.inventory, HOST).replace("paths: [/srv/work]", "paths: [/], exclude: [/var/log, /var/cache]")
        (policies / "site.yaml").write_text(text)
        scene = Scene(lab, policies)
        scene.host.write("/etc/systemd/system/app.service", UNIT)
        scene.host.run(["sh", "-c", INSTALL])
        applied = scene.bcsctl("apply", "--yes", "--wait")
        assert applied["converged"], applied
        yield scene


def test_a_restored_host_boots_and_its_services_run(scene: Scene) -> None:
    scene.host.run(["sh", "-c", "echo 42 >/srv/app/orders/7; chown app:app /srv/app/orders/7"])
    assert scene.answer("/orders/7") == "42\n"
    scene.until(scene.complete_since(HOST))
    assert scene.source()["protected"] == "protected"
    before, names = scene.manifest(), scene.bcsctl("ls", f"work/{HOST}/files:/proc")["entries"]
    assert names == [], "what the kernel shows is nobody's data"

    disk = scene.host.lose_disk()
    restored = scene.bcsctl("restore", f"work/{HOST}/files", "--to", disk)
    assert restored["verified"] and not restored["shortfalls"], restored
    scene.host.power_on()

    scene.until(lambda: scene.host.run(["systemctl", "is-active", "app"], check=False).stdout == "active\n")
    assert scene.answer("/orders/7") == "42\n"
    assert scene.answer("/starts") == "started\nstarted\n", "it was started again, from what it had"
    after = scene.manifest()
    assert after == before, [line for line in after if line not in before][:5]
    failed = scene.host.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout.splitlines()
    assert not [line for line in failed if not line.startswith("bcs-agent")], failed

    applied = scene.bcsctl("apply", "--yes", "--wait")
    assert applied["converged"], applied
    scene.host.run(["sh", "-c", "echo 43 >/srv/app/orders/8"])
    scene.until(scene.complete_since(HOST))
    there = [row["path"] for row in scene.bcsctl("ls", f"work/{HOST}/files:/srv/app/orders")["entries"]]
    assert [path.rsplit("/", 1)[-1] for path in there] == ["7", "8"], "protected again, as one history"
