"""The checks of a drill, in the order in which they were asked for. What they find is rows, and never an error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.drivers import asking
from engine.env import running_alone
from engine.env.clock import Clock
from engine.env.processes import is_root
from engine.journal.open import Journal
from engine.model.counts import as_were, counted
from engine.model.errors import BcsError
from engine.model.policy import drills
from engine.model.policy.drills import Check
from engine.model.times import SECOND, format_size
from engine.query.session import Session
from engine.recovery.drill.evidence import APPLICATION, ATTRIBUTES, CHECKSUMS, COMMAND, Row
from engine.recovery.drill.scene import Told
from engine.recovery.readback import read_back
from engine.recovery.restoring import Outcome, Prepared, pieces_of
from engine.tree.paths import shown

_OF_ATTRIBUTES = ("mode", "uid", "gid", "mtime_ns", "rdev", "xattrs", "further name")
_KEPT = ("PATH", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True)
class Back:
    """A source that came back."""

    address: str
    prepared: Prepared
    outcome: Outcome


def rows_of(
    journal: Journal,
    session: Session,
    checks: Sequence[Check],
    back: Sequence[Back],
    scene: tuple[Path, Mapping[str, str]],
    told: Told,
    clock: Clock,
    vouched: bool,
) -> list[Row]:
    """The rows of all checks over what came back. `scene`: where commands run, and what is in their environment.
    `vouched`: whether they may (`engine.recovery.drill.vouched`)."""
    rows: list[Row] = []
    for check in checks:
        told(f"checking: {check.name}", 0, 0)
        if check.name == drills.CHECKSUMS:
            for each in back:
                rows += _read_back(journal, session, each, clock)
        elif check.name == drills.APPLICATION:
            rows += [application(each.address, each.prepared.plan.target, scene[1], clock) for each in back]
        elif not vouched:
            why = "nobody who may apply policies gave this site the command: change the policy, and apply it"
            rows.append(Row(COMMAND, False, why, command=_text(check)))
        elif back:
            address = back[0].address if len(back) == 1 else ""
            rows.append(_command(check, *scene, clock, address))
        else:
            rows.append(Row(COMMAND, False, "there is nothing to run it on", command=_text(check)))
    return rows


def _read_back(journal: Journal, session: Session, back: Back, clock: Clock) -> Iterator[Row]:
    """Every byte and every attribute of a source, read from the disk: a row for the bytes, one for the rest."""
    began = clock.monotonic()
    prepared, done = back.prepared, back.outcome.restored
    try:
        pieces = pieces_of(session, prepared)
        differences = read_back(journal, prepared.stream.id, prepared.plan, pieces, done, is_root())
    except (BcsError, OSError) as error:
        yield Row(CHECKSUMS, False, str(error), clock.monotonic() - began, back.address, differs=True)
        return
    seconds = clock.monotonic() - began
    of_attributes = [each for each in differences if each[1] in _OF_ATTRIBUTES]
    of_content = [each for each in differences if each[1] not in _OF_ATTRIBUTES]
    read = f"{counted(done.files, 'file')}, {format_size(done.bytes_written)} read back"
    yield _compared(CHECKSUMS, of_content, read, seconds, back.address)
    unset = f", but {counted(len(done.shortfalls), 'attribute')} that could not be set here" if done.shortfalls else ""
    yield _compared(ATTRIBUTES, of_attributes, f"{as_were(done.names)}{unset}", 0.0, back.address)


def _compared(name: str, differences: Sequence[tuple[bytes, str]], well: str, seconds: float, address: str) -> Row:
    if not differences:
        return Row(name, True, well, seconds, address)
    path, what = differences[0]
    more = f", and {len(differences) - 1:,} more" if len(differences) > 1 else ""
    return Row(name, False, f"{shown(path)} differs: {what}{more}", seconds, address, differs=True)


def application(address: str, tree: bytes, of_drill: Mapping[str, str], clock: Clock) -> Row:
    """What drivers say of the databases that they know in a source; where there is none, that nothing was asked."""
    began = clock.monotonic()
    said = asking.ask(Path(os.fsdecode(tree)), _scratch(of_drill))
    return Row(APPLICATION, said.passed, said.text, clock.monotonic() - began, address)


def _scratch(of_drill: Mapping[str, str]) -> Path:
    scratch = Path(of_drill["BCS_DRILL_TMP"])
    scratch.mkdir(mode=0o700, exist_ok=True)
    return scratch


def _command(check: Check, directory: Path, of_drill: Mapping[str, str], clock: Clock, address: str) -> Row:
    began = clock.monotonic()
    scratch = _scratch(of_drill)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment = {"PATH": os.defpath, **kept, "HOME": str(scratch), "TMPDIR": str(scratch), **of_drill}
    ran = running_alone.run(check.command, directory, environment, check.timeout / SECOND)
    seconds = clock.monotonic() - began
    return Row(COMMAND, ran.passed, ran.why or "it exited with 0", seconds, address, _text(check), ran.output)


def _text(check: Check) -> str:
    return check.command if isinstance(check.command, str) else " ".join(check.command)
