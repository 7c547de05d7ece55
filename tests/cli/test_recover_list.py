"""What has ended is no row of `recover list`; what was written to it unguarded is told all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bcsctl.commands import recover
from bcsctl.restoring import on_demand_afar

ENDED: dict[str, Any] = {
    "id": "0badc0de0001",
    "address": "docs/sf-db1/files",
    "host": "sf-db1",
    "dir": "/srv/back",
    "state": "ended",
    "mechanism": "pre-access",
    "bytes_filled": 5,
    "bytes_total": 5,
    "rate_bytes": 0,
    "seconds_left": None,
    "open": False,
    "damaged": [],
    "written_unguarded": ["a.txt"],
    "error": "",
}


@pytest.mark.parametrize(("more", "row"), [((), False), (("--all",), True)])
def test_what_has_ended_is_a_row_with_all_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], row: bool
) -> None:
    monkeypatch.setattr(on_demand_afar, "listed", lambda where: [ENDED])
    done = CliRunner().invoke(recover.command, ["list", "--home", str(tmp_path), *more])
    assert ("/srv/back" in done.output) is row
    assert ("nothing is being recovered on demand" in done.output) is not row
    assert "a.txt was written to while nobody guarded the tree" in done.output
