"""bcsctl restore --to -: what was there then as a tar stream on standard output."""

from __future__ import annotations

import os
import sys
from typing import Any

from bcsctl.entries import damage_is_a_difference
from bcsctl.opening import scenes
from bcsctl.output import BUSY, GOOD, printable, progress, say
from bcsctl.restoring.acts import BEGUN, ENDED, record
from bcsctl.restoring.here import Asked, prepared_parts, shown_plan
from bcsctl.settings import Settings
from engine.model.counts import counted
from engine.model.errors import UsageError
from engine.model.times import format_size


def as_stream(where: Settings, asked: Asked) -> int:
    """Write it to standard output as a tar stream. What is said of it goes to standard error, --json to nobody."""
    if where.site is not None:
        raise UsageError(
            "a site's history is packed where its journal is",
            hint="on its node, as root, `sh /opt/bcs-node/current/start -m bcsctl restore ...` does it",
        )
    if asked.as_json and not asked.dry_run:
        raise UsageError("standard output is the tar stream's", hint="leave out --json")
    if sys.stdout.isatty() and not asked.dry_run:
        raise UsageError("a tar stream is nothing for a terminal", hint="add: | tar -xf - -C DIR, or > FILE")
    with damage_is_a_difference(), scenes(where, asked.scope) as found:
        from engine.recovery import tar
        from engine.recovery.errand import unhindered
        from engine.recovery.restoring import pieces_of

        prepared = prepared_parts(found, asked, tar.HERE)
        if asked.dry_run:
            place = "standard output, as a tar stream"
            return shown_plan(asked, found[0].session, unhindered(prepared), place, is_directory=False)
        scene_of = {there.address: there for there in found}
        for address, one in prepared:
            plan = {"files": len(one.plan.files), "bytes": one.plan.bytes}
            record(where, scene_of[address], one, BEGUN, {"plan": plan})
        packing = [tar.Packing(one.stream.id, one.plan, pieces_of(found[0].session, one)) for _, one in prepared]
        with progress(asked.as_json) as drawn:
            task = drawn.add_task("packing", total=sum(one.plan.bytes for _, one in prepared) or None)
            done = tar.write_all(
                *(sys.stdout.buffer, found[0].journal, packing), lambda files, count: drawn.update(task, advance=count)
            )
        for (address, one), packed in zip(prepared, done, strict=True):
            for path in packed.left_out:
                say(f"{printable(os.fsdecode(path))}: a socket, which tar does not know", BUSY)
            told: dict[str, Any] = {"files": packed.files, "names": packed.names, "bytes": packed.content_bytes}
            record(where, scene_of[address], one, ENDED, {**told, "verified": True})
        size = format_size(sum(packed.content_bytes for packed in done))
        say(f"packed {counted(sum(packed.files for packed in done), 'file')}, {size}", GOOD)
    return 0
