"""The master key is made once and never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.errors import Failed
from engine.node.master_key import ensure_master_key


def test_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = ensure_master_key(tmp_path)
    made = path.read_text()
    assert path == tmp_path / "keys" / "master.key"
    assert len(bytes.fromhex(made.strip())) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_master_key(tmp_path).read_text() == made


def test_no_new_key_for_a_journal_that_has_one(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "bcs.json").write_text("{}")
    with pytest.raises(Failed, match=r"the journal in .* is there, but its key"):
        ensure_master_key(tmp_path)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 63])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").write_text(text)
    with pytest.raises(Failed, match="64 hexadecimal digits"):
        ensure_master_key(tmp_path)
