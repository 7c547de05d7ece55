"""docs/fidelity.md, from the table that the tests run: `python -m tests.fidelity.document > docs/fidelity.md`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fidelity.rows import COLUMNS, THEMES, WEAKER, Row
from tests.fidelity.table import TABLE

_ABOUT = """\
# Fidelity

What a file system can do to a protected directory, and what comes back. Every row is a test: the change is made on
a live protected tree, the tree is restored as of a moment after it, and a walker that shares nothing with this program
compares the two: names, types, sizes, content, where data and holes are, modes, owners, modification times to the
nanosecond, link targets, hard links, device numbers, extended attributes, POSIX ACLs (`getfacl` says the same),
capabilities. Each column is a file system of its own; `btrfs subvolumes` has only the subvolume `@` mounted, as
distributions do it, with the source inside. What happens is seen by one mark on the file system, with no scan and no
gap; overlayfs refuses that mark and has one on each directory; in the last column nothing better than inotify is used.

✓ comes back as it was. – the file system can't do it, for the reason given. A number leads to a note.

Run it with `scripts/run-tests tests/fidelity`, as root. The page is made by `python -m tests.fidelity.document`.
"""

_NEVER = """\
## Not kept

- Access times, change times and birth times. A restored file has its modification time as access time.
- Flags of `chattr`, project numbers, and whether a file is compressed, encrypted or without copy-on-write.
- That blocks of two files were shared by a reflink: both come back, each with blocks of its own.
- That a directory of btrfs was a subvolume or a snapshot: it comes back as a directory.
- Space that was reserved with `fallocate` beyond the end of a file.
- What a process had written to a file whose last name was gone.

## Where less is seen

`bcsctl status` shows which mechanism a source has, `fanotify`, `fanotify-directories`, `inotify` or `scan`, and what it
costs or can't see. Network file systems are scanned: what comes and goes between two looks is never seen. Stores
through `mmap(2)` raise no event anywhere; on ext4 and xfs the kernel's trace events tell of them at once, elsewhere
mapped files are compared in turn. What the kernel itself writes to a file, as a loop device or swap does, is seen when
something else touches the file.
"""


def text() -> str:
    """The whole page."""
    notes: list[str] = []
    parts = [_ABOUT]
    for theme in THEMES:
        parts.append("\n".join(_table(theme, [row for row in TABLE if row.theme == theme], notes)) + "\n")
    parts.append("## Notes\n\n" + "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1)) + "\n")
    parts.append(_NEVER)
    return "\n".join(parts)


def _table(theme: str, rows: list[Row], notes: list[str]) -> Iterator[str]:
    yield f"## {theme}\n"
    yield f"| | {' | '.join(COLUMNS)} |"
    yield "|---|" + "---|" * len(COLUMNS)
    for row in rows:
        yield f"| {row.name} | {' | '.join(_cell(row, column, notes) for column in COLUMNS)} |"


def _cell(row: Row, column: str, notes: list[str]) -> str:
    if row.large and column in WEAKER:
        return f"not run {_note(notes, 'Too large to be run with every mechanism')}"
    if column in row.impossible:
        return f"– {row.impossible[column]}"
    if column in row.unseen:
        return f"not seen {_note(notes, row.unseen[column])}"
    if column in row.late:
        return f"✓ {_note(notes, row.late[column])}"
    if "name" in row.loses:
        return f"not kept {_note(notes, *row.loses.values())}"
    if row.loses:
        return f"all but {', '.join(row.loses)} {_note(notes, *row.loses.values())}"
    if row.either:
        return f"✓ {_note(notes, *row.either.values())}"
    return "✓"


def _note(notes: list[str], *said: str) -> str:
    numbers = []
    for each in said:
        note = each[0].upper() + each[1:].rstrip(".") + "."
        if note not in notes:
            notes.append(note)
        numbers.append(str(notes.index(note) + 1))
    return f"({', '.join(numbers)})"


if __name__ == "__main__":
    print(text(), end="")
