"""What people and scripts read: answers on standard output, everything else on standard error.

With --json one object goes to standard output and nothing else. Progress is drawn by rich,
which is imported only then.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

import click

from engine.model.errors import BcsError
from engine.model.times import SECOND, format_about, format_size, format_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

GOOD, BUSY, BAD, DIM, BOLD = "green", "yellow", "red", "bright_black", "bold"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object; bytes that are no UTF-8 come as surrogate escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=True)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


FAULTS_SHOWN = 10
"""So many faults of policies are listed where they are not what was asked for."""


def fail(error: BcsError, as_json: bool, *, faults_shown: int | None = FAULTS_SHOWN) -> int:
    """Print an error for whoever reads, and answer its exit code. Of its faults the first ones; all with None."""
    if as_json:
        body = error.as_json()
        if "errors" in error.details:
            body["errors"] = error.details["errors"]
        print_json(body)
        return error.exit_code
    rows = error.details.get("errors")
    if isinstance(rows, list) and not _is_all(rows, error.message):
        for row in rows[:faults_shown]:
            say(printable(_fault(row)), BAD)
            if row.get("hint"):
                say(f"  {printable(row['hint'])}")
        if faults_shown is not None and len(rows) > faults_shown:
            say(f"and {len(rows) - faults_shown:,} more")
        elif error.message.endswith(first := f"; the first: {_fault(rows[0])}"):  # said above, with all others
            say(f"error: {printable(error.message.removesuffix(first))}", BAD)
            return error.exit_code
    say(f"error: {printable(error.message)}", BAD)
    if error.hint:
        say(f"  {printable(error.hint)}")
    return error.exit_code


def _is_all(rows: list[dict[str, Any]], message: str) -> bool:
    """Whether an error's message says all that its only fault says."""
    return len(rows) == 1 and message == _fault(rows[0])


def _fault(row: dict[str, Any]) -> str:
    place = f"{row['file']}:{row['line']}:{row['column']}" if row["line"] else row["file"]
    return f"{place}: {row['path']}: {row['message']}" if row.get("path") else f"{place}: {row['message']}"


def say(text: str, colour: str | None = None) -> None:
    """A line on standard error."""
    coloured = colours(sys.stderr)
    click.echo(_styled(text, colour) if coloured else text, err=True, color=coloured)


def tell(text: str = "", colour: str | None = None) -> None:
    """A line on standard output. Names that are no UTF-8 are written as the bytes they are."""
    line = _styled(text, colour) if colours(sys.stdout) else text
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def colours(stream: Any) -> bool:
    """Colours only on a terminal, and not when NO_COLOR is set (https://no-color.org)."""
    return (_assumed or bool(stream.isatty())) and not os.environ.get("NO_COLOR")


_assumed = False


def assume_terminal(assumed: bool) -> None:
    """Write as to a terminal, colours that is: there is one at the other end of a pipe."""
    global _assumed
    _assumed = assumed


def console(stderr: bool = False) -> Console:
    """A rich console that never breaks lines of piped output."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(stderr=stderr, width=width, highlight=False, no_color=not colours(stream), emoji=False)


def painted(text: str, colour: str | None) -> str:
    """The text as standard output shows it: in colour where that is a terminal."""
    return _styled(text, colour) if colours(sys.stdout) else text


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """An aligned table on standard output. A cell is text, or (text, colour). Lines are never cut."""
    tell("\n".join(table_lines(titles, rows, right)))


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> list[str]:
    """The lines of a table, for standard output."""
    cells = [[cell if isinstance(cell, tuple) else (str(cell), None) for cell in row] for row in rows]
    drawn = [[(printable(str(text)), colour) for text, colour in row] for row in cells]
    widths = [max([len(title), *(cell_width(row[at][0]) for row in drawn)]) for at, title in enumerate(titles)]
    coloured = colours(sys.stdout)
    lines: list[str] = []
    for row in [[(title, BOLD) for title in titles], *drawn]:
        line = ""
        for at, (text, colour) in enumerate(row):
            space = " " * (widths[at] - cell_width(text))
            shown = _styled(text, colour) if coloured else text
            line += (space + shown if titles[at] in right else shown + space) + "  "
        lines.append(line.rstrip())
    return lines


def _styled(text: str, colour: str | None) -> str:
    if not colour or not text:
        return text
    return click.style(text, bold=True) if colour == BOLD else click.style(text, fg=colour)


def cell_width(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def printable(text: str) -> str:
    """A name for the eye: control characters and bytes that are no UTF-8 as escapes."""
    return "".join(
        char
        if char.isprintable()
        else char.encode("utf-8", "surrogateescape").decode("latin-1").encode("unicode_escape").decode()
        for char in text
    )


def local_time(at: int | None, seconds_digits: int = 0) -> str:
    """A time for the eye: local, with its zone's offset. `-` for none."""
    if at is None:
        return "-"
    moment = datetime.fromisoformat(format_time(at)).astimezone()
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    if seconds_digits:
        text += f".{moment.microsecond:06d}"[: seconds_digits + 1]
    return text + moment.strftime(" %z")


class Bars(Protocol):
    """What commands need of a progress display (rich.progress.Progress is one)."""

    disable: bool

    @property
    def console(self) -> Any: ...

    def add_task(self, description: str, *, total: float | None = ...) -> TaskID: ...

    def update(self, task_id: TaskID, **changes: Any) -> None: ...


class _Hushed:
    """A progress display that nobody looks at: rich is not even imported."""

    disable = True
    console: Any = None

    def add_task(self, description: str, *, total: float | None = None) -> TaskID:
        return cast("TaskID", 0)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        pass


@contextmanager
def progress(as_json: bool = False) -> Iterator[Bars]:
    """A progress display on standard error; nothing is drawn when that is no terminal. It counts bytes."""
    if as_json or not sys.stderr.isatty():
        yield _Hushed()
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Amount(ProgressColumn):
        """`5.0 MiB of 1.2 GiB, 80.0 MiB/s, 15 s left`; nothing before the first byte."""

        def render(self, task: Task) -> Text:
            if not task.completed and not task.total:
                return Text("")
            amount = format_size(int(task.completed)) + (f" of {format_size(int(task.total))}" if task.total else "")
            rate = f", {format_size(int(task.speed))}/s" if task.speed else ""
            left = task.time_remaining
            return Text(amount + rate + (f", {format_about(round(left * SECOND))} left" if left else ""))

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        Amount(),
        console=console(stderr=True),
        transient=True,
    ) as drawn:
        yield drawn
