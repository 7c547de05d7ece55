"""The preview of a tree on demand on a host says where it would go, and that nobody has looked there."""

from __future__ import annotations

import pytest

from bcsctl.restoring.on_demand import planned
from bcsctl.restoring.on_demand_afar import UNSEEN

PLAN = {"path": "/srv", "target": "/srv/back", "files": 1, "bytes": 6, "directories": 1, "others": 0}
ANSWER = {
    "address": "finance/sf-db1/files",
    "point": "1.10",
    "at": "2026-11-23T08:17:18.158851Z",
    "class": "quiet",
    "plan": {**PLAN, "data_bytes": 6, "seconds_estimated": 0.5, "unreadable": []},
}


def test_a_host_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned({**ANSWER, "host": "sf-db3", "mechanism": "fuse", "mechanism_why": UNSEEN}, False) == 0
    said = capsys.readouterr().out
    assert "would go to  sf-db3:/srv/back\n" in said and f"on demand by  fuse ({UNSEEN})\n" in said


def test_this_machine_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    planned({**ANSWER, "mechanism": "fuse"}, False)
    assert "would go to  /srv/back\n" in capsys.readouterr().out
