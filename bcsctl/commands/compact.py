"""bcsctl compact: merge segments and make checkpoints now, instead of when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import BAD, json_option, print_json, say, tell
from bcsctl.settings import home_option, settings
from engine.env.clock import SYSTEM
from engine.model.counts import counted
from engine.model.times import format_size

if TYPE_CHECKING:
    from engine.query.compaction import Compacted


@click.command("compact", epilog=exits(6))
@home_option
@json_option
def command(home: str | None, as_json: bool) -> int:
    """Merge segments and make checkpoints now.

    A node does this by itself; by hand it may be done at any time, with a node running or not.
    Nothing of the history goes. Damage that is met is named and left as it is.

    \b
    Example:  bcsctl compact
    """
    opened = journal(settings(home))
    from engine.query.compaction import compact

    done = compact(opened, SYSTEM)
    if as_json:
        print_json(
            {
                "merged": done.merged,
                "checkpoints": done.checkpoints,
                "deleted": done.deleted,
                "bytes": done.bytes_written,
                "reasons": reasons(done),
                "errors": [error.as_json()["error"] for error in done.damaged],
            }
        )
    else:
        for reason in reasons(done):
            tell(reason)
        for error in done.damaged:
            say(error.message, BAD)
    return 6 if done.damaged else 0


def reasons(done: Compacted) -> list[str]:
    """What was done and why, a line each."""
    if not (done.merged or done.deleted or done.checkpoints):
        return ["nothing to do: every segment is merged, every stream has a checkpoint at its newest point"]
    said = []
    if done.merged:
        said.append(f"wrote {counted(len(done.merged), 'merged segment')}, so that reads open fewer")
    if done.checkpoints:
        said.append(f"made {counted(len(done.checkpoints), 'checkpoint')}, so that reads fold less")
    if done.deleted:
        said.append(f"deleted {counted(len(done.deleted), 'segment')} that merged ones stand for since a minute ago")
    return [*said, f"wrote {format_size(done.bytes_written)}"]
