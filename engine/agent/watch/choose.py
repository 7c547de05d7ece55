"""The best watcher that works for the given paths.

In order: a mark on the file systems, marks on the directories, inotify, scanning. One mechanism serves all paths; what
one file system refuses, none gets. Network file systems are scanned: their other clients' changes raise no events. What
refused a better one may go, such as a mount: then that is to be had again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from engine.agent.watch.base import Watcher, WatchRefused
from engine.agent.watch.inotify import InotifyWatcher
from engine.agent.watch.marks import DirectoryWatcher, FilesystemWatcher
from engine.agent.watch.mounts import filesystem_type, is_within, mount_table, mounted_at
from engine.agent.watch.scan import INTERVAL_SECONDS, ScanWatcher
from engine.env.clock import SYSTEM, Clock
from engine.model.errors import UsageError

MECHANISMS = ("fanotify", "fanotify-directories", "inotify", "scan")

_NETWORK_TYPES = {
    *(b"nfs", b"nfs4", b"cifs", b"smb3", b"ceph", b"9p", b"afs", b"lustre", b"gpfs", b"ocfs2", b"gfs2", b"virtiofs"),
    *(b"fuse.sshfs", b"fuse.glusterfs", b"fuse.ceph", b"fuse.s3fs", b"fuse.rclone"),
}


def open_watcher(
    paths: Sequence[bytes],
    *,
    force: str | None = None,
    weaker_than: str | None = None,
    ignore_pid: int | None = None,
    scan_interval_seconds: float = INTERVAL_SECONDS,
    clock: Clock = SYSTEM,
    environment: Mapping[str, str] = os.environ,
) -> Watcher:
    """A watcher for the trees at `paths` (absolute; a missing one counts as its nearest parent), nothing registered.

    `force`, else the variable BCS_WATCH, names the one mechanism to use: WatchRefused when it does not work, UsageError
    when there is none of that name. `weaker_than` starts after the mechanism that refused a directory later on, and
    overrules both.
    """
    makers: dict[str, Callable[[], Watcher]] = {
        **_by_events(paths, ignore_pid),
        "scan": lambda: ScanWatcher(interval_seconds=scan_interval_seconds, clock=clock),
    }
    forced = force or environment.get("BCS_WATCH") or None
    for name in filter(None, (forced, weaker_than)):
        if name not in makers:
            raise UsageError(f"no such watch mechanism: {name}", hint=f"one of {', '.join(MECHANISMS)}")
    if weaker_than is not None:
        candidates = MECHANISMS[MECHANISMS.index(weaker_than) + 1 :] or MECHANISMS[-1:]
    elif forced is not None:
        return _proved(makers[forced], paths)
    else:
        candidates = MECHANISMS
    if _on_network(paths):
        return makers["scan"]()
    refused = ""
    for name in candidates[:-1]:
        try:
            return _because(_proved(makers[name], paths), refused)
        except WatchRefused as error:
            refused = refused or error.message
    return _because(makers[candidates[-1]](), refused)


def better_than(mechanism: str, paths: Sequence[bytes], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a better mechanism than this one would serve the paths by now, with all that is mounted below them: what
    was mounted there, and refused it, may have gone. Never where one mechanism is forced."""
    if environment.get("BCS_WATCH") or _on_network(paths):
        return False
    reals = [os.path.realpath(path) for path in paths]
    mounted = mounted_at(reals, mount_table())
    below = [point for point in mounted if any(is_within(point, real) for real in reals)]
    makers = _by_events(paths)
    for name in MECHANISMS[: MECHANISMS.index(mechanism)]:
        try:
            _proved(makers[name], [*paths, *below]).close()
        except (WatchRefused, OSError):
            continue
        return True
    return False


def _by_events(paths: Sequence[bytes], ignore_pid: int | None = None) -> dict[str, Callable[[], Watcher]]:
    """Makers of the watchers that the kernel tells of changes."""
    return {
        "fanotify": lambda: FilesystemWatcher(paths, ignore_pid=ignore_pid),
        "fanotify-directories": lambda: DirectoryWatcher(paths, ignore_pid=ignore_pid),
        "inotify": lambda: InotifyWatcher(paths),
    }


def _because(watcher: Watcher, refused: str) -> Watcher:
    """The watcher, whose costs say what the best mechanism was refused with."""
    if refused:
        watcher.costs = f"{watcher.costs} No better one is to be had: {refused}."
    return watcher


def _proved(make: Callable[[], Watcher], paths: Sequence[bytes]) -> Watcher:
    """The watcher, after it has registered each path once and let it go again."""
    watcher = make()
    try:
        for path in paths:
            watcher.add_directory(0, _existing_directory(path))
            watcher.remove_directory(0)
    except BaseException:
        watcher.close()
        raise
    return watcher


def _on_network(paths: Sequence[bytes]) -> bool:
    table = mount_table()
    return any(filesystem_type(_existing_directory(path), table) in _NETWORK_TYPES for path in paths)


def _existing_directory(path: bytes) -> bytes:
    """`path`, or its nearest parent that is a directory, without symbolic links."""
    path = os.path.realpath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
