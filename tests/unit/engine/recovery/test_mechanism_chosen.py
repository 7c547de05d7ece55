"""Which mechanism fills a tree whose holes have no room, and that it is said why."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.recovery.on_demand import making


@pytest.mark.parametrize(
    ("wanted", "room", "chosen"),
    [
        (None, True, ("pre-access", "")),
        (None, False, ("fuse", "its files have 300.0 GiB of holes, too much to set room aside for")),
        ("pre-access", False, ("pre-access", "")),
    ],
)
def test_another_one_than_the_best_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str | None, room: bool, chosen: tuple[str, str]
) -> None:
    monkeypatch.setattr(making, "have_room", lambda target, holes: room)
    monkeypatch.setattr(
        making.making,
        "mechanism_for",
        lambda target, wanted, sparse=False: wanted or ("fuse" if sparse else "pre-access"),
    )
    assert making._chosen(tmp_path, {7: 300 << 30}, wanted) == chosen
