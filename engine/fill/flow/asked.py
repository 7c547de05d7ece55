"""What is known of a cold file that somebody asked for, and the lock under which bytes come into it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from engine.fill.flow.chunks import Blocks


@dataclass(slots=True)
class Asked:
    """What is known of a file that somebody asked for. `limit`: never filled past it; `left`: cold blocks."""

    limit: int
    left: int
    flights: list[Blocks] = field(default_factory=list)
    next: int = -1
    run: int = 0
    ahead_to: int = 0
    ahead: bool = False
    seen: int = 0
    careful: bool = False
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
