"""bcsctl mount: any moment of the history as a read-only file system."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from bcsctl.completing import ADDRESSES
from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import BAD, json_option, local_time, print_json, printable, say
from bcsctl.settings import Settings, home_option, settings
from engine.env import processes
from engine.env.clock import SYSTEM
from engine.model.errors import BcsError, Failed, UsageError
from engine.model.ids import Address, parse_address

if TYPE_CHECKING:
    from engine.journal.open import Journal
    from engine.model.points import Gap

READY_SECONDS, LOOK_SECONDS = 30.0, 0.02


@click.command("mount", epilog=exits(4, 5))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("address", required=False, shell_complete=ADDRESSES)
@click.option("--daemon", is_flag=True, help="Return once it is mounted, and serve it in the background.")
@home_option
@json_option
def command(directory: Path, address: str | None, daemon: bool, home: str | None, as_json: bool) -> None:
    """Show the history below DIR, read-only, until it is unmounted.

    DIR/GROUP/HOST/SOURCE/<time>/... holds each tree as it was; with ADDRESS DIR/<time>/... does. Of
    the times `latest`, full hours and marks are listed; any other may be typed:
    2026-11-22T10:00:00Z, -5m, point:1.1234. Every byte is checked before it is shown. Without
    --daemon it serves until Ctrl-C. `umount DIR` ends it too.

    \b
    Example:  bcsctl mount /mnt/history --daemon
              diff -r /mnt/history/finance/sf-db1/files/-1h /srv/finance
              bcsctl mount /mnt/finance finance/sf-db1/files
    """
    where = settings(home)
    if where.site is not None:
        raise UsageError(
            "the history of a site is mounted where its journal is",
            hint=f"on its node, as root: `sh /opt/bcs-node/current/start -m bcsctl mount {directory} --daemon`",
        )
    if address is not None:
        parse_address(address)
    directory = directory.absolute()
    told: dict[str, object] = {"mounted": str(directory), "address": address}
    if daemon:
        from engine.recovery.mount.mounted import check

        check(directory)
        there = journal(where)  # what is wrong with it is said here, not in the background
        if address is not None:
            _now_called(there, address)
        _say({**told, "pid": _in_background(where, directory, address)}, as_json)
        return
    _serve(where, directory, address, lambda: _say({**told, "pid": os.getpid()}, as_json))


def _say(told: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        place = str(told["mounted"])
        say(f"mounted on {printable(place)}; `umount {printable(shlex.quote(place))}` ends it")


def _serve(where: Settings, directory: Path, address: str | None, ready: Callable[[], None]) -> None:
    opened = journal(where)
    from engine.query.session import Session
    from engine.recovery.mount.filesystem import MomentFilesystem
    from engine.recovery.mount.mounted import serve

    stopping = threading.Event()
    with Session(opened) as session, _ended_by_signals(stopping):
        only = _now_called(opened, address) if address is not None else None
        shown = MomentFilesystem(opened, session, only, lambda source: _open_gap(where, source))
        serve(directory, shown, stopping, ready, _fault)


def _now_called(there: Journal, address: str) -> Address:
    """The name that a source has now, whichever of its names was given. NothingThere for an unknown one."""
    from engine.query.streams import by_name, find

    wanted = find(there, address)
    return next(name for name, each in by_name(there).items() if each.id == wanted.id)


def _in_background(where: Settings, directory: Path, address: str | None) -> int:
    """Start another process that serves; its pid, once the mount is there. Failed with what it said, if it isn't."""
    logs = where.home / "log"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = logs / f"mount-{os.getpid()}.log"
    argv = [sys.executable, "-m", "bcsctl", "mount", str(directory), *([address] if address else [])]
    environment = {**os.environ, "BCS_HOME": str(where.home)}
    pid = processes.spawn_detached([*argv, "--home", str(where.home)], environment, log, Path("/"))
    end = SYSTEM.monotonic() + READY_SECONDS
    while not os.path.ismount(directory):
        if not processes.is_alive(pid) or SYSTEM.monotonic() > end:
            said = log.read_text("utf-8", "replace").strip()
            raise Failed(said.splitlines()[0] if said else "the mount did not come up", hint=f"see {log}")
        SYSTEM.sleep(LOOK_SECONDS)
    return pid


@contextmanager
def _ended_by_signals(stopping: threading.Event) -> Iterator[None]:
    """Within, SIGINT and SIGTERM set `stopping`."""

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_gap(where: Settings, source: Address) -> Gap | None:
    """The gap of a source that its node knows to be open. A node that is away knows nothing."""
    from bcsctl.open_gaps import ask

    word = ask(where, {str(source)})
    return word.gap if word else None


def _fault(error: BaseException) -> None:
    """What can't be read is an I/O error to its reader; why, is said here."""
    if isinstance(error, BcsError):
        say(f"{local_time(SYSTEM.now())}  {error.message}", BAD)
    else:
        traceback.print_exception(error)
