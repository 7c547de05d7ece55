"""Nothing else goes where a recovery on demand fills a tree: it is named, and what can be done with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.fill.kept import documents
from tests.filling import ID, note_filling

from .conftest import ADDRESS, PlainSite, Run


@pytest.fixture
def home(site: PlainSite, tmp_path: Path) -> Path:
    """The site's journal, and a recovery that fills DIR, `tmp_path / "back"`."""
    home, back = tmp_path / "own", tmp_path / "back"
    site.copy(home)
    back.mkdir()
    (back / "a.txt").write_text("not all of it yet")
    note_filling(home, back)
    return home


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--on-demand",), ("--on-demand", "--dry-run")])
@pytest.mark.parametrize("address", [ADDRESS, "docs"])
def test_a_restore_there_names_the_recovery(
    run: Run, home: Path, tmp_path: Path, address: str, more: tuple[str, ...]
) -> None:
    done = run("restore", address, "--to", tmp_path / "back", *more, "--json", home=home)
    error = done.json["error"]
    assert done.code == 4 and error["details"] == {"recovery": ID}
    assert f"recovery {ID} fills {tmp_path}/back already, with {ADDRESS} as of point:1.9" in error["message"]
    assert "`bcsctl recover list`" in error["hint"] and f"`bcsctl recover finish {ID}`" in error["hint"]


def test_nor_is_a_scratch_tree_put_in_its_place(run: Run, home: Path, tmp_path: Path) -> None:
    made = run("restore", ADDRESS, "--to", "scratch", "--json", home=home)
    assert made.code == 0, made.err
    moved = run("restore", "promote", made.json["scratch"]["id"], "--to", tmp_path / "back", "--aside", home=home)
    assert moved.code == 4 and f"recovery {ID} fills" in moved.err
    assert (tmp_path / "back" / "a.txt").read_text() == "not all of it yet"


def test_beside_it_there_is_room(run: Run, home: Path, tmp_path: Path) -> None:
    broken = documents.place_of(home, "00000000dead")
    broken.path.mkdir()
    broken.recipe.write_text("{")
    assert run("restore", ADDRESS, "--to", tmp_path / "other", home=home).code == 0
