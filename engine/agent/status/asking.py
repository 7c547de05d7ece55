"""`bcs-agent status` on a host itself: asks the agent that runs there, and shows what it says."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from engine.agent.status.document import document
from engine.agent.status.lines import Paint, lines
from engine.env.answering import ask
from engine.model.errors import Failed

_CODES = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "bright_black": "90"}


def socket_of(home: Path) -> Path:
    """Where the agent of a home answers."""
    return home / "run" / "agent.sock"


def state_of(home: Path) -> dict[str, Any]:
    """What the agent of this home says. Failed when none answers."""
    try:
        value = json.loads(ask(socket_of(home)))
    except PermissionError:
        raise Failed(f"only root, or who runs it, may ask the agent of {home}", hint="try it with sudo") from None
    except OSError:
        told = f"no agent answers in {home}"
        raise Failed(
            told, hint="`systemctl status bcs-agent` says why on a site's host; `bcsctl apply` starts it"
        ) from None
    except ValueError:
        raise Failed(f"the agent of {home} ended while it was asked", hint="ask again") from None
    if not isinstance(value, dict):
        raise Failed(f"the agent of {home} told {value!r:.80}")
    return value


def show(home: Path, *, as_json: bool) -> int:
    """Print it; 1 when something needs attention, else 0."""
    state = state_of(home)
    text = json.dumps(document(state), indent=2, ensure_ascii=False) if as_json else "\n".join(lines(state, painter()))
    print(text)
    return 1 if state["attention"] else 0


def painter() -> Paint:
    """Colours where standard output is a terminal."""
    return _coloured if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else _plain


def _coloured(text: str, colour: str | None) -> str:
    return f"\033[{_CODES[colour]}m{text}\033[0m" if colour and text else text


def _plain(text: str, colour: str | None) -> str:
    return text
