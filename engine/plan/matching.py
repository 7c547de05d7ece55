"""What a restore with wildcards brings back: each match under its path below the pattern's fixed part. Pure.

`/srv/*/q3.ods` puts `/srv/a/q3.ods` at `a/q3.ods` in the target: matches of one name can't meet there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.model.errors import NothingThere
from engine.model.events import DIRECTORY, Inode
from engine.plan.restore import RestorePlan, plan_restore

_WILD = frozenset(b"*?[\\")


def is_pattern(path: bytes) -> bool:
    """Whether a path holds wildcards: `*`, `?`, `[a-z]`, `**` for any directories; `\\` takes the next as it is."""
    return not _WILD.isdisjoint(path)


def fixed_part(pattern: bytes) -> bytes:
    """The directory, without wildcards, in which all that an absolute pattern matches lies."""
    names = pattern.strip(b"/").split(b"/")[:-1]
    count = next((index for index, name in enumerate(names) if is_pattern(name)), len(names))
    return b"/" + b"/".join(names[:count])


def nothing_matched(pattern: bytes) -> NothingThere:
    return NothingThere(
        f"nothing matched {pattern.decode('utf-8', 'backslashreplace')} then",
        hint="quote the pattern, so that the shell leaves it alone; `bcsctl ls` shows what there was",
    )


def plan_matching(
    entries: Sequence[tuple[bytes, Inode]], pattern: bytes, target: bytes, matches: Callable[[bytes, bool], bool]
) -> RestorePlan:
    """The inodes to make for all `entries` (path, inode) that match, what lies below them, and the way there.

    `matches` is asked with (path, is a directory) and true for what lies below a match too. NothingThere for no match.
    """
    base = fixed_part(pattern)
    chosen = {path for path, inode in entries if path != base and matches(path, inode.type == DIRECTORY)}
    if not chosen:
        raise nothing_matched(pattern)
    needed = set(chosen)
    for path in chosen:
        above = path.rsplit(b"/", 1)[0]
        while len(above) > len(base) and above not in needed:
            needed.add(above)
            above = above.rsplit(b"/", 1)[0]
    return plan_restore([pair for pair in entries if pair[0] in needed], base, target, target, (base,))
