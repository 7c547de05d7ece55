"""What people and scripts read: answers on standard output, everything else on standard error.

With --json one object goes to standard output and nothing else. Tables, colours and progress
come from rich, which is imported only when something is drawn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from engine.model.errors import BcsError
from engine.model.times import format_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

GOOD, BUSY, BAD, DIM = "green", "yellow", "red", "bright_black"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object; bytes that are no UTF-8 come as surrogate escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=True)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def fail(error: BcsError, as_json: bool) -> int:
    """Print an error for whoever reads, and answer its exit code."""
    if as_json:
        body = error.as_json()
        if "errors" in error.details:
            body["errors"] = error.details["errors"]
        print_json(body)
        return error.exit_code
    rows = error.details.get("errors")
    if isinstance(rows, list):
        for row in rows:
            place = f"{row['file']}:{row['line']}:{row['column']}"
            say(f"{place}: {row['message']}", BAD)
            if row.get("hint"):
                say(f"  {row['hint']}")
    say(f"error: {error.message}", BAD)
    if error.hint:
        say(f"  {error.hint}")
    return error.exit_code


def say(text: str, colour: str | None = None) -> None:
    """A line on standard error."""
    click.echo(click.style(text, fg=colour) if colour and colours(sys.stderr) else text, err=True)


def tell(text: str = "", colour: str | None = None) -> None:
    """A line on standard output. Names that are no UTF-8 are written as the bytes they are."""
    line = click.style(text, fg=colour) if colour and colours(sys.stdout) else text
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def colours(stream: Any) -> bool:
    """Colours only on a terminal, and not when NO_COLOR is set (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def console(stderr: bool = False) -> Console:
    """A rich console that never breaks lines of piped output."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(stderr=stderr, width=width, highlight=False, no_color=not colours(stream), emoji=False)


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """An aligned table on standard output. A cell is text, or (text, colour)."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        drawn.add_column(title, justify="right" if title in right else "left", no_wrap=True, overflow="fold")
    for row in rows:
        cells = [cell if isinstance(cell, tuple) else (str(cell), "") for cell in row]
        drawn.add_row(*(Text(printable(str(text)), style=colour or "") for text, colour in cells))
    console().print(drawn)


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


@contextmanager
def progress(as_json: bool = False) -> Iterator[Progress]:
    """A progress display on standard error; nothing is drawn when that is no terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    shown = not as_json and sys.stderr.isatty()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console(stderr=True),
        disable=not shown,
        transient=True,
    ) as drawn:
        yield drawn
