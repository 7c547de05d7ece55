"""What is known of a cold file that somebody asked for, and the lock under which bytes come into it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from engine.fill.flow.chunks import Blocks


@dataclass(slots=True)
class Asked:
    """What is known of a file that somebody asked for. `limit`: never filled past it; `left`: cold blocks.

    Of one who reads on: `next` is the block behind the last that was fetched for him, `run` how many were in a row,
    `seen` the block up to which he came, `ahead_to` that up to which was begun for him.
    """

    limit: int
    left: int
    flights: list[Blocks] = field(default_factory=list)
    next: int = -1
    run: int = 0
    ahead_to: int = 0
    seen: int = 0
    careful: bool = False
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
