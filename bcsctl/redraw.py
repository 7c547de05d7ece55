"""Draw something again and again in place, on the terminal's other screen; at the end what was there comes back."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from bcsctl.output import BAD, console, painted, tell
from engine.env.clock import SYSTEM
from engine.model.errors import BcsError

Draw = Callable[[], list[str]]


def redraw(draw: Draw, seconds: float) -> None:
    """Show what `draw` answers each `seconds`, until Ctrl-C. An error of one round is shown instead of it.

    The first lines, up to an empty one, are wrapped where the terminal is narrow; others, and what it has no room for,
    are cut off. Without a terminal each round is printed below the last.
    """
    signal.signal(signal.SIGTERM, _leave)
    try:
        if sys.stdout.isatty():
            _on_other_screen(draw, seconds)
        else:
            _one_below_the_other(draw, seconds)
    except KeyboardInterrupt:
        return


def _on_other_screen(draw: Draw, seconds: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=console(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            lines = _round(draw)
            head = lines.index("") if "" in lines else len(lines)
            answer = Text.from_ansi("\n".join(lines[:head]))
            tables = Text.from_ansi("\n".join(lines[head:]), no_wrap=True, overflow="ellipsis")
            live.update(Group(answer, tables), refresh=True)
            SYSTEM.sleep(seconds)


def _one_below_the_other(draw: Draw, seconds: float) -> None:
    while True:
        for line in [*_round(draw), ""]:
            tell(line)
        SYSTEM.sleep(seconds)


def _round(draw: Draw) -> list[str]:
    try:
        return draw()
    except BcsError as error:
        return [painted(f"error: {error.message}", BAD), *([f"  {error.hint}"] if error.hint else [])]


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End by way of the exceptions, which bring the screen back."""
    raise SystemExit(128 + number)
