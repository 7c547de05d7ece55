"""The module that puts directories and files on hosts, as root: what a service put in its own way is not followed."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def files() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bcs_files", ROOT / "playbooks" / "library" / "bcs_files.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wanted(path: Path, mode: str = "0700") -> dict[str, str]:
    return {"path": str(path), "mode": mode, "owner": "", "group": ""}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_of_somebody_else_is_not_followed_to_a_directory(files: ModuleType, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    link = tmp_path / "admins"
    link.symlink_to(victim)
    os.chown(link, 4321, 4321, follow_symlinks=False)
    with pytest.raises(OSError, match="symbolic link"):
        files.directory(wanted(link), False)
    assert mode_of(victim) == 0o755


def test_our_own_link_leads_to_its_directory_and_is_settled_once(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir(mode=0o755)
    link = tmp_path / "home"
    link.symlink_to(tmp_path / "volume")
    assert files.directory(wanted(link), False)
    assert mode_of(tmp_path / "volume") == 0o700
    assert files.directory(wanted(link), False) == []


def test_a_file_takes_a_links_place_and_shows_nothing_of_where_it_led(files: ModuleType, tmp_path: Path) -> None:
    victim = tmp_path / "shadow"
    victim.write_text("secret")
    victim.chmod(0o600)
    link = tmp_path / "node.json"
    link.symlink_to(victim)
    diffs = files.file(wanted(link, "0640"), b"{}\n", False)
    assert "secret" not in str(diffs)
    assert (victim.read_text(), mode_of(victim)) == ("secret", 0o600)
    assert not link.is_symlink() and (link.read_text(), mode_of(link)) == ("{}\n", 0o640)
    assert files.file(wanted(link, "0640"), b"{}\n", False) == []
