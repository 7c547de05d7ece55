"""Compaction by hand: fewer segments, a checkpoint, and the same history."""

from __future__ import annotations

from pathlib import Path

from engine.model.times import format_time

from .conftest import ADDRESS, PlainSite, Run


def test_compacting_changes_no_answer_and_ends(run: Run, site: PlainSite, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    site.copy(home)

    def listings() -> list[object]:
        moments = [format_time(at) for at in (site.first, site.second, site.third)]
        return [
            run("ls", f"{ADDRESS}:/", "-R", "--at", moment, "--json", home=home).json["entries"] for moment in moments
        ]

    before = listings()
    done = run("compact", "--json", home=home)
    assert done.code == 0, done.err
    assert len(done.json["merged"]) == 1
    assert len(done.json["checkpoints"]) == 1
    assert done.json["bytes"] > 0
    assert listings() == before
    again = run("compact", "--json", home=home).json
    assert (again["merged"], again["checkpoints"]) == ([], [])
    assert "nothing to do" in run("compact", home=home).text
