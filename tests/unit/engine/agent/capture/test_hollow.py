"""A tree in which one of the kernel's own file systems is mounted, as in a whole host's."""

from __future__ import annotations

import subprocess

from conftest import Site, wait_for

from engine.drivers.files import Scope
from tests.mounts import mounted


def test_of_a_mounted_proc_only_the_mount_point_is_captured(site: Site) -> None:
    with mounted("tmpfs", 16 << 20) as place:
        site.tree = place / "tree"
        (site.tree / "proc").mkdir(parents=True)
        (site.tree / "etc").mkdir()
        (site.tree / "etc" / "motd").write_bytes(b"hello")
        subprocess.run(["mount", "-t", "proc", "proc", site.tree / "proc"], check=True)
        try:
            site.start(scope=Scope([str(site.tree)]))
            (site.tree / "etc" / "late").write_bytes(b"captured too")
            wait_for(lambda: b"/etc/late" in site.image())
            assert set(site.image()) == {b".", b"/proc", b"/etc", b"/etc/motd", b"/etc/late"}
        finally:
            site.stop()
            subprocess.run(["umount", site.tree / "proc"], check=True)
