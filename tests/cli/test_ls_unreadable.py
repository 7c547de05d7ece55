"""`ls` names what its host could not read: the bytes that are there are older than the point."""

from __future__ import annotations

import json
from pathlib import Path

from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import parse_address, stream_id
from engine.wire.batch import BatchBuilder
from tests.cli.conftest import ADDRESS, PlainSite, Run, commit


def test_what_is_older_than_the_point_is_named(run: Run, site: PlainSite, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    site.copy(home)
    stream, at = stream_id(parse_address(ADDRESS)), site.third + 1_000_000
    journal = open_local(home / "journal", b"\x5a" * 32)
    with Committer(journal, "n2") as committer:
        head = committer.open_stream(stream, "agent", None).head
        builder = BatchBuilder(stream, head.epoch, head.lsn + 1, head.hash)
        told = {"path": "/data/renamed.txt", "errno": 5, "reason": "Input/output error"}
        builder.record(at, "unreadable", json.dumps(told))
        builder.mark(at, "pass", point_class="quiet")
        commit(committer, builder)
    done = run("ls", ADDRESS, home=home)
    assert "/data/renamed.txt: Input/output error since" in done.err + done.text
    told_json = run("ls", ADDRESS, "--json", home=home).json["unreadable"]
    assert [(each["path"], each["reason"]) for each in told_json] == [("/data/renamed.txt", "Input/output error")]
    assert run("ls", ADDRESS, "--json", "--at", "point:1.16", home=home).json["unreadable"] == []
