"""What is said of a recovery whose processes are gone, or whose maker died."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bcsctl.status_view import lines
from engine.fill.base import FILLING, FUSE, PRE_ACCESS, PREPARING, Place, Recipe
from engine.fill.kept import documents
from engine.fill.kept.documents import State
from engine.fill.life import recoveries
from engine.fill.life.holding import making
from engine.fill.life.making import furnish


def place_with(home: Path, state: str, mechanism: str = PRE_ACCESS, base: str = "/srv/a", dir: str = "/srv/a") -> Place:
    place = documents.place_of(home, "00000000000a")
    place.path.mkdir(parents=True)
    recipe = Recipe(
        id="00000000000a", address="demo/localhost/files", stream="s", position="1.2", point_at=0, point_class="quiet",
        base=base, dir=dir, hidden=f"{dir}/.bcs-00000000000a", made_dir=True, lasting=True, mechanism=mechanism, by="a",
        begun_at=0, boot="b", files=1, bytes=1, rate_bytes=0, away_seconds=1.0, module="none", supply={},
    )  # fmt: skip
    documents.write_recipe(place, recipe)
    if state != PREPARING:
        documents.write_state(place, State(state, guard="boot:1:1"))
    return place


@pytest.mark.parametrize(("mechanism", "says"), [(PRE_ACCESS, "reads give zeros"), (FUSE, "reads fail")])
def test_a_source_that_nobody_guards_is_told_by_status(tmp_path: Path, mechanism: str, says: str) -> None:
    place_with(tmp_path, FILLING, mechanism)
    [found] = recoveries.unguarded_sources(tmp_path)
    assert found.word == recoveries.UNGUARDED
    assert says in found.danger and "`bcsctl recover resume 00000000000a`" in found.danger
    row = {"address": found.recipe.address, "id": found.recipe.id, "danger": found.danger}
    assert any(says in line for line in lines({"groups": [], "unguarded": [row]}, said="The only source is protected"))


def test_elsewhere_it_is_no_word_about_a_source(tmp_path: Path) -> None:
    place_with(tmp_path, FILLING, dir="/srv/b")
    assert recoveries.unguarded_sources(tmp_path) == []


def test_a_tree_whose_maker_lives_is_not_taken_away(tmp_path: Path) -> None:
    """By nobody who begins others again; once he is dead it is, and its directory can be used."""
    target = tmp_path / "back"
    place = place_with(tmp_path / "home", PREPARING, dir=str(target))
    (target / ".bcs-00000000000a").mkdir(parents=True)
    with making(place):
        assert recoveries.look(place).word == PREPARING
        assert recoveries.revive(tmp_path / "home") == []
        recoveries.clear(tmp_path / "home", str(target))
        assert os.listdir(target) == [".bcs-00000000000a"]
    assert recoveries.look(place).word == recoveries.CUT_OFF
    recoveries.clear(tmp_path / "home", str(target))
    assert not target.exists()


def test_what_a_maker_left_who_had_not_begun_is_swept_once_it_is_old(tmp_path: Path) -> None:
    left, young, told = (documents.place_of(tmp_path, f"00000000000{number}") for number in range(3))
    for place in (left, young, told):
        with making(place):
            furnish(place, {})
            recoveries.clear(tmp_path, "/srv/a")
            assert place.path.is_dir()
    (told.path / "node.json").write_text("{}")  # of an agent, which goes on with it
    for place in (left, told):
        os.utime(place.path, (0, 0))
    recoveries.clear(tmp_path, "/srv/a")
    assert sorted(os.listdir(tmp_path / "recoveries")) == ["000000000001", "000000000002", "lock"]
    os.utime(young.path, (0, 0))
    with making(young):
        os.utime(young.path, (0, 0))
        assert recoveries.revive(tmp_path) == [] and young.path.is_dir()
    assert recoveries.revive(tmp_path) == [] and not young.path.exists()


def test_files_written_to_without_guard_are_known_each_once(tmp_path: Path) -> None:
    place = place_with(tmp_path, FILLING)
    for path in (b"a", b"\xff\n", b"a"):
        documents.note_unguarded(place, path)
    with place.unguarded.open("ab") as file:
        file.write(b'"cut of')
    assert recoveries.look(place).written == ("a", "\udcff\n")
