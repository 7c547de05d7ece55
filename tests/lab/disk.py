"""What is on a host's disk before it is first switched on: the upper layer of its overlay, and its volumes."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from tests.lab.shell import sh
from tests.lab.topology import Host, Volume

MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer "
    "getty.target console-getty.service systemd-update-utmp.service systemd-update-utmp-runlevel.service "
    "dev-hugepages.mount systemd-networkd.service systemd-resolved.service tmp.mount"
)
SSHD = """\
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
MaxStartups 100
"""
MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1"),
    "xfs": ("mkfs.xfs", "-q"),
    "btrfs": ("mkfs.btrfs", "-q"),
}


def prepare(host: Host, home: Path, names: str, public_key: str) -> None:
    """Make the disk if there is none: below `home` come upper/, work/, root/ and volumes/."""
    upper = home / "upper"
    if upper.is_dir():
        return
    fresh = home / "upper.new"
    shutil.rmtree(fresh, ignore_errors=True)
    _write(fresh / "etc/hostname", host.name + "\n")
    _write(fresh / "etc/machine-id", "")  # systemd makes one at the first boot
    _write(fresh / "etc/resolv.conf", "")
    _write(fresh / "etc/hosts", names)
    _accounts(fresh, public_key)
    _write(fresh / "etc/ssh/sshd_config.d/lab.conf", SSHD)
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", host_key(fresh))
    units = fresh / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in MASKED.split():
        (units / unit).symlink_to("/dev/null")
    for path in host.hidden:
        hidden = fresh / path.lstrip("/")
        hidden.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))  # a whiteout of overlayfs
    for name in ("work", "root", "volumes"):
        (home / name).mkdir(exist_ok=True)
    for volume in host.volumes:
        make_volume(volume, home)
    fresh.rename(upper)


def host_key(upper: Path) -> Path:
    return upper / "etc/ssh/ssh_host_ed25519_key"


def image(volume: Volume, home: Path) -> Path:
    return home / "volumes" / (volume.path.strip("/").replace("/", "_") + ".img")


def make_volume(volume: Volume, home: Path) -> None:
    file = image(volume, home)
    with file.open("wb") as stream:
        stream.truncate(volume.size_mib << 20)
    sh(*MKFS[volume.filesystem], file)


def _accounts(upper: Path, public_key: str) -> None:
    """root and ansible, who may become root by sudo, both by the lab's ssh key."""
    _write(upper / "root/.ssh/authorized_keys", public_key, 0o600)
    (upper / "root/.ssh").chmod(0o700)
    (upper / "root").chmod(0o700)
    _write(upper / "etc/ssh/authorized_keys.d/ansible", public_key)
    _write(upper / "etc/sudoers.d/ansible", "ansible ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    _write(upper / "etc/sysusers.d/ansible.conf", 'u ansible - "ansible" /home/ansible /bin/bash\n')
    _write(upper / "etc/tmpfiles.d/ansible.conf", "d /home/ansible 0700 ansible ansible\n")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
