"""Promotions that are killed at any step: what was checked, or what stood there, is there, and going on ends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.model.errors import Failed, Refused
from engine.tree.compare import digest
from engine.tree.copy import copy_tree
from engine.tree.scratch import manifest, place
from engine.tree.scratch.checks import compare as look
from engine.tree.scratch.place import RESTORED, Scratch
from engine.tree.scratch.promote import promote
from tests.unit.engine.tree.reading import bytes_read


class Killed(BaseException):
    """Nothing of ours catches it."""


def made(tmp_path: Path) -> Scratch:
    asked = {"scope": "g/localhost/files"}
    scratch = place.new(tmp_path / "home", None, 1, "me", asked)
    tree = Path(scratch.tree)
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("checked")
    (tree / "link").symlink_to("sub/file")
    os.link(tree / "sub" / "file", tree / "other")
    manifest.write(place.manifest_file(tmp_path / "home", scratch), manifest.take(scratch.root))
    known = Scratch(scratch.id, scratch.tree, RESTORED, 1, "me", asked)
    place.save(tmp_path / "home", known)
    return known


def standing(target: Path) -> None:
    target.mkdir()
    (target / "live").write_text("live")


CALLS = ["rename", "save", "exchange", "forget", "sync_directory"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("can_exchange", [True, False])
def test_killed_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool, can_exchange: bool
) -> None:
    from engine.tree.scratch import promote as module

    scratch, home, target = made(tmp_path), tmp_path / "home", tmp_path / "there"
    standing(target)
    wanted = digest(scratch.root)
    if not can_exchange:

        def refuse(*_: object) -> None:
            raise OSError(22, "no")

        monkeypatch.setattr(module, "exchange", refuse)
    holder = {"rename": os, "save": place, "forget": place}.get(call, module)
    with monkeypatch.context() as dying:
        real: Callable[..., object] = getattr(holder, call)

        def die(*arguments: object, **more: object) -> None:
            if after:
                real(*arguments, **more)
            raise Killed

        dying.setattr(holder, call, die)
        try:
            promote(home, scratch, target, aside=True, changed=False)
        except Killed:
            pass
        except OSError:
            assert not can_exchange
    [known] = place.every(home) or [None]
    if known is not None:
        promote(home, known, target, aside=True, changed=False)
    assert digest(os.fsencode(target)) == wanted
    assert (tmp_path / f"there.before-{scratch.id}" / "live").read_text() == "live"
    assert place.every(home) == []


def test_what_is_half_promoted_is_not_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.tree.scratch import promote as module

    scratch, home, target = made(tmp_path), tmp_path / "home", tmp_path / "there"
    standing(target)
    with monkeypatch.context() as dying:

        def die(*_: object) -> None:
            raise Killed

        dying.setattr(module, "exchange", die)
        with pytest.raises(Killed):
            promote(home, scratch, target, aside=True, changed=False)
    with pytest.raises(Refused, match="half promoted"):
        place.discard(home, place.read(home, scratch.id))


def test_what_bears_the_name_for_what_is_kept_is_refused(tmp_path: Path) -> None:
    scratch, target = made(tmp_path), tmp_path / "there"
    standing(target)
    (tmp_path / f"there.before-{scratch.id}").write_text("mine")
    with pytest.raises(Refused):
        promote(tmp_path / "home", scratch, target, aside=True, changed=False)
    assert (target / "live").read_text() == "live" and (Path(scratch.tree) / "other").exists()


def test_one_who_writes_while_it_is_promoted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.model.errors import VerificationFailed
    from engine.tree.scratch import promote as module

    scratch, target = made(tmp_path), tmp_path / "there"
    real = manifest.take

    def write_after(root: bytes, threads: int = 1) -> manifest.Held:
        held = real(root, threads)
        (Path(scratch.tree) / "sub" / "file").write_text("CHECKED")
        return held

    monkeypatch.setattr(module.manifest, "take", write_after)
    with pytest.raises(VerificationFailed, match="being written"):
        promote(tmp_path / "home", scratch, target, aside=False, changed=False)
    assert not target.exists()


def test_a_hole_of_a_hundred_gigabytes_is_kept_checked_copied_and_promoted_unread(tmp_path: Path) -> None:
    asked = {"scope": "g/localhost/files"}
    home = tmp_path / "home"
    scratch = place.new(home, None, 1, "me", asked)
    Path(scratch.tree).mkdir()
    with open(Path(scratch.tree) / "disk", "wb") as disk:
        disk.truncate(100 << 30)
        disk.seek(70 << 30)
        disk.write(b"data" * 1024)
    with bytes_read() as read:
        manifest.write(place.manifest_file(home, scratch), manifest.take(scratch.root))
        scratch = replace(scratch, state=RESTORED)
        place.save(home, scratch)
        checked = look(home, scratch, SYSTEM)
        copied = tmp_path / "copied"
        assert copy_tree(scratch.root, os.fsencode(copied), os.geteuid() == 0) == []
        assert manifest.take(os.fsencode(copied)).rows == manifest.take(scratch.root).rows
        promote(home, checked.scratch, tmp_path / "there", aside=False, changed=False)
    assert checked.changes == () and (tmp_path / "there" / "disk").stat().st_size == 100 << 30
    assert read() < 8 << 20


def test_what_another_version_kept_is_not_compared_with(tmp_path: Path) -> None:
    scratch = made(tmp_path)
    file = place.manifest_file(tmp_path / "home", scratch)
    _, kept = file.read_bytes().split(b"\n", 1)
    file.write_bytes(kept)
    with pytest.raises(Failed, match="another version") as raised:
        promote(tmp_path / "home", scratch, tmp_path / "there", aside=False, changed=False)
    assert "again" in raised.value.hint
    assert not (tmp_path / "there").exists()
