"""Runs on a lab host: changes a tree without end, as applications do; Python's own library only.

Usage: change.py TREE SEED [CHANGES_A_SECOND]
Ends on SIGTERM, between two changes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

KINDS = ("deliver", "update", "append", "replace", "move", "remove", "chmod")
WEIGHTS = (30, 25, 20, 10, 5, 5, 5)


def main(tree: Path, seed: int, changes_a_second: float) -> None:
    chance = random.Random(seed)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    for name in ("mail", "db", "docs/old"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    begun, count = time.monotonic(), 0
    while not stopping:
        one_change(tree, chance, time.time_ns())
        count += 1
        time.sleep(max(0.0, begun + count / changes_a_second - time.monotonic()))


def one_change(tree: Path, chance: random.Random, number: int) -> None:
    """A delivery, an update in place, a log line, a replaced file, a move, a removal, or attributes."""
    [kind] = chance.choices(KINDS, WEIGHTS)
    mails = sorted((tree / "mail").iterdir())
    match kind:
        case "deliver":
            (tree / "mail" / f"{number}").write_bytes(chance.randbytes(chance.choice((300, 3_000, 30_000))))
        case "update":
            table = tree / "db" / f"table-{chance.randrange(3)}"
            with open(table, "r+b" if table.exists() else "w+b") as file:
                file.seek(8192 * chance.randrange(64))
                file.write(chance.randbytes(8192))
                os.fsync(file.fileno())
        case "append":
            with (tree / "log").open("ab") as file:
                file.write(b"%d a line of a log\n" % number)
        case "replace":
            new = tree / "docs" / ".new"
            new.write_bytes(chance.randbytes(chance.randrange(20_000)))
            new.rename(tree / "docs" / f"report-{chance.randrange(20)}.ods")
        case "move" if mails:
            chance.choice(mails).rename(tree / "docs" / "old" / f"{number}")
        case "remove" if mails:
            chance.choice(mails).unlink()
        case "chmod" if mails:
            mail = chance.choice(mails)
            mail.chmod(chance.choice((0o600, 0o640, 0o444)))
            os.chown(mail, chance.randrange(3), chance.randrange(3))
            os.setxattr(mail, "user.seen", b"%d" % number)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 50.0)
