"""bcsctl whoami: what is shown of whom a site takes us for."""

from __future__ import annotations

import pytest

from bcsctl.commands.whoami import render


@pytest.mark.parametrize(
    ("kind", "name", "token", "line"),
    [
        ("user", "vera", "laptop", "vera at site sf, by token laptop"),
        ("user", "", "ci", "token ci at site sf"),
        ("local", "root", "", "root at site sf"),
    ],
)
def test_who_it_is(kind: str, name: str, token: str, line: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    render({"kind": kind, "name": name, "token": token, "site": "sf", "groups_by_role": {"viewer": ["*"]}})
    assert capfdbinary.readouterr().out.decode().splitlines() == [line, "  viewer: every group"]
