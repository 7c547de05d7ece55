"""What Tab offers where a command asks for a name: from this machine's files alone, quickly, and silent on any fault.

Nothing is asked of a site's node: who works on another machine's history is offered no names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from bcsctl.settings import settings

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_Names = Callable[[Path, Path], Iterable[str]]
"""Names from BCS_HOME and its journal."""

MARK = "mark:"
MOMENTS = ("latest", "now", MARK, "point:", "-5m", "-1h", "-1d")
BREAKS = ":"
"""Where bash breaks words that are one to us. It does so at = too, which click knows."""


def _offering(names: _Names) -> Complete:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with ctx.scope(cleanup=False):
                where = settings(ctx.params.get("home"))
                if where.site is not None:
                    return []
                found = [name for name in names(where.home, where.journal) if name.startswith(incomplete)]
        except Exception:  # nobody wants a traceback instead of a completion
            return []
        return [CompletionItem(name) for name in dict.fromkeys(found) if name != incomplete or name != MARK]

    return complete


def _sources(home: Path, journal: Path) -> list[str]:
    from engine.journal import control
    from engine.store.local import LocalStore

    if not journal.is_dir():
        return []
    applied = control.latest(LocalStore(journal), control.POLICIES) or {}
    return sorted(applied.get("sources", {}))


def _groups(home: Path, journal: Path) -> list[str]:
    return [address.split("/")[0] for address in _sources(home, journal)]


def _scopes(home: Path, journal: Path) -> list[str]:
    found = _sources(home, journal)
    return [*_groups(home, journal), *(address.rpartition("/")[0] for address in found), *found]


def _restored(home: Path, journal: Path) -> list[str]:
    return [*_scopes(home, journal), "list", "check", "promote", "discard"]


def _moments(home: Path, journal: Path) -> list[str]:
    from engine.node.marks import KeptMarks

    kept = KeptMarks(home / "node" / "marks.json").read().values()
    return [*MOMENTS, *(MARK + mark.label for mark in kept if mark.label)]


def _recoveries(home: Path, journal: Path) -> list[str]:
    from engine.fill.life.recoveries import recoveries

    return [each.recipe.id for each in recoveries(home) if each.living]


def _scratches(home: Path, journal: Path) -> list[str]:
    from engine.recovery import unfinished
    from engine.tree.scratch import place

    return [each.id for each in place.every(home)] + [each.id for each in unfinished.every(home)]


def _reports(home: Path, journal: Path) -> list[str]:
    from reports.catalog import REPORTS

    return list(REPORTS)


ADDRESSES, GROUPS, RESTORED = _offering(_sources), _offering(_groups), _offering(_restored)
MOMENT, RECOVERIES, SCRATCHES = _offering(_moments), _offering(_recoveries), _offering(_scratches)
REPORT_NAMES = _offering(_reports)


class Bash(BashComplete):
    """Bash gives `mark:a` as three words and puts in only what stands behind the colon."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        words = joined([*args, incomplete])
        self._before = words[-1].rpartition(BREAKS)[0] + BREAKS if BREAKS in words[-1] else ""
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value.removeprefix(self._before)}"

    @staticmethod
    def _check_version() -> None:
        """Click starts a bash to see whether it is old; ours is asked for by one that runs."""


def joined(words: Iterable[str]) -> list[str]:
    """Words that bash broke at colons, whole again: `mark`, `:`, `a` as `mark:a`."""
    whole: list[str] = []
    goes_on = False
    for word in words:
        if whole and (goes_on or word.startswith(BREAKS)):
            whole[-1] += word
        else:
            whole.append(word)
        goes_on = word.endswith(BREAKS)
    return whole


add_completion_class(Bash, "bash")
