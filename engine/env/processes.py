"""Our own processes: start them detached, know them again, stop them.

A pid is only a number that the kernel gives out again. So a process is signalled through a pidfd (pidfd_open(2)) that
was opened before it was verified to be ours: same role, same home.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.env import durable
from engine.model.errors import Failed

KILL_SECONDS = 5.0  # how long a process may take to go after SIGKILL
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, linux/prctl.h

_children: set[int] = set()  # started by us and not reaped yet


def write_pid_file(path: Path, pid: int | None = None) -> None:
    """Durably note `pid`, by default our own."""
    durable.replace(path, b"%d\n" % (os.getpid() if pid is None else pid), mode=0o644)


def read_pid(path: Path) -> int | None:
    """The pid that was noted, None without a file. Raises Failed if the file holds something else."""
    try:
        text = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise Failed(f"pid file {path} holds {text[:40]!r}, not a process id", hint=f"remove {path} and try again")
    return int(text)


def is_ours(pid: int, role: str, home: Path) -> bool:
    """Whether `pid` lives, has `role` as a word of its command line, and was started with BCS_HOME=`home`.

    False for processes of other users whose environment we may not read. The home itself, where the command line
    names it, does not count as a word.
    """
    if not is_alive(pid):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    home_bytes = os.fsencode(home)
    if b"BCS_HOME=" + home_bytes not in environment.split(b"\0"):
        return False
    word = rb"(?<![A-Za-z0-9_])" + re.escape(os.fsencode(role)) + rb"(?![A-Za-z0-9_])"
    return re.search(word, command.replace(home_bytes, b"")) is not None


def is_alive(pid: int) -> bool:
    """Whether the process exists and has not ended; a zombie has ended."""
    if pid in _children and _reaped(pid):
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # The name, in brackets, may hold anything: the state follows the last bracket, proc(5).
    return status.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def spawn_detached(argv: Sequence[str], env: Mapping[str, str], log_path: Path, cwd: Path) -> int:
    """Start a process that outlives us, in a session of its own; returns its pid.

    Standard input is /dev/null, output and errors are appended to `log_path`, no other descriptor is inherited. `env`
    is its whole environment; BCS_HOME in it is what `is_ours` looks for. Raises Failed if it can't be executed.
    """
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            close_fds=True,
            start_new_session=True,
        )
    except OSError as error:
        hint = f"check that {argv[0]} exists and may be executed, and that {cwd} is a directory"
        raise Failed(f"can't start {argv[0]}: {error.strerror}", hint=hint) from error
    finally:
        os.close(log)
    _children.add(child.pid)
    child.returncode = 0  # Popen shall neither wait for it nor warn that it still runs: is_alive reaps it
    return child.pid


def stop(pid: int, role: str, home: Path, timeout_seconds: float) -> bool:
    """End a process of ours: SIGTERM, and SIGKILL after `timeout_seconds`.

    True if it was ours and has ended, False if `pid` is not ours: then it is left alone. Raises Failed if it is still
    there after SIGKILL.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError as error:  # pid 0, negative, or the number of a thread
        raise Failed(f"can't look at process {pid}: {error.strerror}", hint="check the pid file") from error
    try:
        if not is_ours(pid, role, home):
            return False
        for what, seconds in ((signal.SIGTERM, timeout_seconds), (signal.SIGKILL, KILL_SECONDS)):
            _send(pidfd, what)
            if _ended(pidfd, seconds):
                is_alive(pid)  # reaps it if it is our child
                return True
    finally:
        os.close(pidfd)
    raise Failed(f"process {pid} ({role}) did not end on SIGKILL", hint="it hangs in the kernel: look for a stuck disk")


def end_with(parent: int) -> bool:
    """Have this process get SIGTERM when the thread of `parent` that started it ends (prctl(2), PR_SET_PDEATHSIG);
    False when the parent has gone already."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    return os.getppid() == parent


def has_systemd() -> bool:
    """Whether systemd runs this machine, sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def is_root() -> bool:
    return os.geteuid() == 0


def _reaped(child: int) -> bool:
    """Whether a child of ours has ended; takes it off the kernel's list."""
    try:
        ended = os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:  # another thread was faster
        ended = True
    if ended:
        _children.discard(child)
    return ended


def _send(pidfd: int, what: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, what)
    except ProcessLookupError:
        pass  # it has ended by itself


def _ended(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0, round(seconds * 1000))))
