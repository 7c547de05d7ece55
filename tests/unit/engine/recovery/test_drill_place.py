"""Where drills restore to: one at a time, nothing left, nothing of others touched."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.env.processes import is_root
from engine.fill.life import rehearsed
from engine.model.errors import Failed, Refused
from engine.recovery.drill import place
from engine.tree import clearing
from tests.mounts import mounted


def closed_tree(folder: Path) -> None:
    """A tree whose directories nobody may write to."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("x")
    (folder / "a" / "link").symlink_to("/etc")
    os.chmod(folder / "a" / "b", 0o000)
    os.chmod(folder / "a", 0o500)


def test_a_drills_directory_is_gone_afterwards_whatever_happens(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        place.turn(tmp_path, SYSTEM) as lock,
        place.scratch(tmp_path, "", "1", "g", lock) as folder,
    ):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert place.running(tmp_path)["group"] == "g"
        closed_tree(folder)
        raise ZeroDivisionError
    assert [path.name for path in place.directory(tmp_path).iterdir()] == ["lock"]
    assert place.running(tmp_path) == {}


def test_what_dead_drills_left_goes_and_nothing_else(tmp_path: Path) -> None:
    elsewhere = tmp_path / "scratch"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("kept")
    with place.turn(tmp_path, SYSTEM) as lock:
        pass
    (place.directory(tmp_path) / "lock").write_text(f'{{"dir": "{elsewhere}/drill-dead"}}')
    for folder in (elsewhere / "drill-dead", place.directory(tmp_path) / "drill-other"):
        closed_tree(folder)
    with place.turn(tmp_path, SYSTEM) as lock:
        assert lock > 0
    assert [path.name for path in elsewhere.iterdir()] == ["mine"]
    assert [path.name for path in place.directory(tmp_path).iterdir()] == ["lock"]


@pytest.mark.parametrize("noted", ['{"dir": "/etc"}', '{"dir": "/"}', "[]", "no JSON", "{}"])
def test_a_note_that_is_none_of_ours_removes_nothing(tmp_path: Path, noted: str) -> None:
    place.directory(tmp_path).mkdir()
    (place.directory(tmp_path) / "lock").write_text(noted)
    place.remove_dead(tmp_path)
    assert Path("/etc/passwd").exists()


def test_one_drill_at_a_time(tmp_path: Path) -> None:
    told: list[str] = []
    with place.turn(tmp_path, SYSTEM) as lock, place.scratch(tmp_path, "", "1", "first", lock):
        with pytest.raises(Refused, match="a drill of first runs"), place.turn(tmp_path, SYSTEM, 0.0):
            pass
        place.remove_dead(tmp_path)  # it lives
        assert len(list(place.directory(tmp_path).glob("drill-*"))) == 1
        done = threading.Event()

        def second() -> None:
            with place.turn(tmp_path, SYSTEM, 30.0, told.append):
                done.set()

        thread = threading.Thread(target=second)
        thread.start()
    assert done.wait(120)
    thread.join()
    assert told in ([], ["first"])


def test_without_room_nothing_begins(tmp_path: Path) -> None:
    clearing.refuse_without_room(tmp_path, 0)
    with pytest.raises(Refused, match="must stay so"):
        clearing.refuse_without_room(tmp_path, 1 << 62)


def test_a_scratch_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with (
        place.turn(tmp_path, SYSTEM) as lock,
        pytest.raises(Refused, match="can't be made"),
        place.scratch(tmp_path, str(tmp_path / "nowhere"), "1", "g", lock),
    ):
        pass


@pytest.mark.skipif(not is_root(), reason="mounting is root's")
def test_what_is_mounted_in_a_drills_directory_is_not_emptied() -> None:
    with mounted("tmpfs") as volume:
        (volume / "kept").write_text("x")
        with pytest.raises(Failed, match="something is mounted"):
            rehearsed.remove(volume.parent)
        assert (volume / "kept").read_text() == "x"
