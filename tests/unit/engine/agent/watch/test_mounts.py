"""Reading the mount table."""

from __future__ import annotations

from engine.agent.watch.mounts import Mount, filesystem_type, hollow_points, mount_with, mounted_at, mounts_of

TABLE = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /srv rw,relatime shared:1 - nfs4 server:/srv rw
31 30 8:1 / /srv/a\040b rw,relatime - xfs /dev/sda1 rw
32 22 0:41 / /srvother rw - tmpfs none rw
33 22 8:2 / /mnt rw - btrfs /dev/sdb rw
34 22 8:3 / /mnt rw - vfat /dev/sdc rw
"""


def test_the_type_is_that_of_the_nearest_mount() -> None:
    types = {
        path: filesystem_type(path, TABLE)
        for path in (b"/", b"/srv", b"/srv/x", b"/srv/a b/c", b"/srvother/x", b"/srvx")
    }
    assert types == {
        b"/": b"ext4",
        b"/srv": b"nfs4",
        b"/srv/x": b"nfs4",
        b"/srv/a b/c": b"xfs",
        b"/srvother/x": b"tmpfs",
        b"/srvx": b"ext4",
    }
    assert filesystem_type(b"/mnt/x", TABLE) == b"vfat", "a later mount hides an earlier one"


def test_mounts_above_and_below_a_root_are_ours() -> None:
    points = {point for _, _, point in mounts_of([b"/srv/data", b"/srv/a b"], TABLE)}
    assert points == {b"/", b"/srv", b"/srv/a b"}
    assert {point for _, _, point in mounts_of([b"/srv"], TABLE)} == {b"/", b"/srv", b"/srv/a b"}
    assert mounts_of([b"/srv"], TABLE) != mounts_of([b"/srv"], TABLE.replace(b"0:40", b"0:42"))


def test_a_mount_is_found_by_its_number() -> None:
    assert mount_with(31, TABLE) == Mount(b"xfs", b"/dev/sda1", read_only=False)
    assert mount_with(33, TABLE.replace(b"/dev/sdb rw", b"/dev/s\\040b ro,space_cache")) == Mount(
        b"btrfs", b"/dev/s b", True
    )
    assert mount_with(3, TABLE) is None


def test_what_is_mounted_where() -> None:
    assert mounted_at([b"/srv/data"], TABLE) == {b"/": "254:0 /", b"/srv": "0:40 /"}
    assert mounted_at([b"/srv"], TABLE)[b"/srv/a b"] == "8:1 /"
    assert mounted_at([b"/mnt/x"], TABLE)[b"/mnt"] == "8:3 /", "the later of two in one place"
    hidden = TABLE + b"35 22 8:4 /dir /srv rw,relatime - ext4 /dev/sdd rw\n"
    assert mounted_at([b"/srv"], hidden) == {b"/": "254:0 /", b"/srv": "8:4 /dir"}, "what lies beneath is not there"


SYSTEM = rb"""22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:4 / /proc rw - proc proc rw
24 23 0:5 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
25 22 0:6 / /dev rw - devtmpfs udev rw
26 25 0:7 / /dev/shm rw - tmpfs tmpfs rw
27 22 0:8 / /run rw - tmpfs tmpfs rw
28 27 0:9 / /run/user/0 rw - tmpfs tmpfs rw
29 22 8:1 / /boot rw - ext4 /dev/sda1 rw
30 22 0:10 / /srv/fast rw - tmpfs tmpfs rw
31 22 0:11 / /tmp rw - tmpfs tmpfs rw
32 31 0:12 / /tmp/x/sub rw - tmpfs tmpfs rw
33 22 0:13 / /srv/chroot/proc rw - proc proc rw
"""


def test_of_the_kernels_own_file_systems_only_the_mount_points_belong_to_a_whole_host() -> None:
    assert hollow_points([b"/"], SYSTEM) == {b"/proc", b"/dev", b"/run", b"/tmp", b"/srv/chroot/proc"}
    assert hollow_points([b"/srv"], SYSTEM) == {b"/srv/chroot/proc"}
    assert hollow_points([b"/tmp/x", b"/run/user/0"], SYSTEM) == set(), "who names such a place means it"


def test_what_comes_and_goes_below_them_is_no_change() -> None:
    before = b"\n".join(line for line in SYSTEM.splitlines() if b"/run/user/0" not in line)
    assert mounts_of([b"/"], before) == mounts_of([b"/"], SYSTEM)
    assert b"/run/user/0" not in mounted_at([b"/"], SYSTEM) and b"/boot" in mounted_at([b"/"], SYSTEM)
    assert mounts_of([b"/"], before.replace(b"/boot", b"/moved")) != mounts_of([b"/"], SYSTEM)
