#!/bin/sh
# A host from power on to power off, in a mount namespace of its own that takes every mount along when it ends:
#   unshare --mount --propagation=slave power_on.sh HOME LOWER [IMAGE:DIRECTORY ...] -- NSPAWN ARGUMENTS ...
# HOME has upper/, work/ and root/, LOWER is the disk root below. Runs as a member of the host's cgroup.
set -eu
home=$1 lower=$2
shift 2

# The plain hierarchy of version 2, as Debian has it, whatever this machine mounts.
umount -Rl /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Locks and sockets of systemd-nspawn, which it leaves behind when it is killed.
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd

mount -t overlay "$(basename "$home")" "$home/root" \
    -o "lowerdir=$lower,upperdir=$home/upper,workdir=$home/work,index=on,nfs_export=on"
while [ "$1" != -- ]; do
    mkdir -p "${1#*:}"
    mount -o loop "${1%%:*}" "${1#*:}"
    shift
done
shift

# With --keep-unit a reboot ends systemd-nspawn with 133.
status=133
while [ $status = 133 ]; do
    status=0
    systemd-nspawn "$@" || status=$?
done
exit $status
