"""A bug of ours ends no protection in silence: the source says that it failed, and tries again."""

from __future__ import annotations

from pathlib import Path

from tests.failures.host import a_host
from tests.failures.test_no_room import failing


def test_an_unexpected_exception(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.start(limits={"bug_in": str(host.base / "bug")})
        host.settle()
        host.protected()
        (host.base / "bug").touch()
        (host.tree / "f").write_text("1")
        row = failing(host, "a bug, at agent.py:")
        assert row["gap_from"] and "ZeroDivisionError" in row["message"]
        (host.base / "bug").unlink()
        host.settle()
        host.protected()
        assert host.gaps()
        lines = host.log().splitlines()
        assert {"Traceback (most recent call last):", "ZeroDivisionError: division by zero"} <= set(lines)
