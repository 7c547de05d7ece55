"""bcsctl restore --to -: what was there then as a tar stream on standard output."""

from __future__ import annotations

import os
import sys

from bcsctl.entries import as_of, damage_is_a_difference
from bcsctl.opening import Named, scene
from bcsctl.output import BUSY, GOOD, print_json, printable, progress, say
from bcsctl.restore_acts import BEGUN, ENDED, record
from bcsctl.restore_view import render_plan
from bcsctl.settings import Settings
from engine.model.errors import UsageError
from engine.model.times import format_size


def as_stream(where: Settings, wanted: Named, at: str, *, dry_run: bool, as_json: bool) -> int:
    """Write it to standard output as a tar stream. What is said of it goes to standard error, --json to nobody."""
    if where.site is not None:
        raise UsageError("a site's history is packed where its journal is", hint="run it on the site's node")
    if as_json and not dry_run:
        raise UsageError("standard output is the tar stream's", hint="leave out --json")
    if sys.stdout.isatty() and not dry_run:
        raise UsageError("a tar stream is nothing for a terminal", hint="add: | tar -xf - -C DIR, or > FILE")
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        from engine.recovery import tar
        from engine.recovery.restoring import pieces_of, prepare_for
        from engine.recovery.told import plan_json, point_json

        point = there.point(at)
        prepared = prepare_for(there.journal, there.session, there.stream, point, wanted.path, tar.HERE)
        plan = plan_json(prepared, tar.HERE)
        answer = {"address": wanted.address, **point_json(point), "plan": plan}
        if dry_run:
            if as_json:
                print_json({**answer, "dry_run": True})
            else:
                render_plan(answer, wanted.address, "a tar stream on standard output")
            return 0
        record(where, there, prepared, BEGUN, {"plan": {name: plan[name] for name in ("files", "bytes")}})
        with progress(as_json) as drawn:
            task = drawn.add_task("packing", total=prepared.plan.bytes or None)
            done = tar.write(
                sys.stdout.buffer,
                there.journal,
                there.stream.id,
                prepared.plan,
                pieces_of(there.session, prepared),
                lambda files, count: drawn.update(task, advance=count),
            )
        for path in done.left_out:
            say(f"{printable(os.fsdecode(path))}: a socket, which tar does not know", BUSY)
        told = {"files": done.files, "names": done.names, "bytes": done.content_bytes, "verified": True}
        record(where, there, prepared, ENDED, told)
        say(f"packed {done.files:,} files, {format_size(done.content_bytes)} {as_of(point)}", GOOD)
    return 0
