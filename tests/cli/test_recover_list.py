"""What has ended is no row of `recover list`; what was written to it unguarded is told all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bcsctl.commands import recover
from bcsctl.restoring import on_demand_afar, recover_afar
from bcsctl.settings import Settings
from engine.model.errors import Refused

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


@pytest.mark.parametrize(
    ("state", "said"), [("ended", r"sf-db1:/srv/back \(5 B\) is whole, and stays"), ("cancelled", "cancelled")]
)
def test_who_steers_what_has_ended_is_told_what_became_of_it(tmp_path: Path, state: str, said: str) -> None:
    with pytest.raises(Refused, match=f"recovery 0badc0de0001 has ended: {said}$"):
        recover_afar.forsake(Settings(tmp_path, ()), {**ENDED, "state": state}, as_json=False, yes=True)
