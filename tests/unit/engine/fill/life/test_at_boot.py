"""The unit that covers a tree at boot, with a systemctl that notes what it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.fill.life import at_boot
from engine.model.errors import Failed


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /etc/systemd/system; `told` in it is what systemctl was called with."""
    monkeypatch.setattr(at_boot, "DIRECTORY", tmp_path)
    monkeypatch.setattr(at_boot, "possible", lambda: True)
    (tmp_path / "bin").mkdir()
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/told\ntest ! -e {tmp_path}/broken\n'
    (tmp_path / "bin" / "systemctl").write_text(script)
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def test_it_comes_and_goes(systemd: Path) -> None:
    at_boot.install("/srv/data", "abc")
    assert "ExecStart=mount -t tmpfs" in (systemd / "bcs-cover-abc.service").read_text()
    at_boot.remove("abc")
    at_boot.remove("abc")
    assert not (systemd / "bcs-cover-abc.service").exists()
    assert (systemd / "told").read_text().splitlines() == [
        "enable --quiet bcs-cover-abc",
        *("disable --quiet bcs-cover-abc", "daemon-reload"),
    ]


def test_a_systemd_that_refuses_is_told(systemd: Path) -> None:
    (systemd / "broken").touch()
    with pytest.raises(Failed, match="enable"):
        at_boot.install("/srv/data", "abc")


@pytest.mark.parametrize("directory", ["/srv/data", '/srv/50% of $all" data\\'])
def test_systemd_takes_the_text(directory: str, tmp_path: Path) -> None:
    text = at_boot.unit(directory, "abc")
    assert "Before=local-fs.target" in text and "DefaultDependencies=no" in text
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "bcs-cover-abc.service"
    path.write_text(text)
    done = subprocess.run([analyze, "verify", "--recursive-errors=no", path], capture_output=True, text=True)
    assert str(path) not in done.stderr and "bcs-cover-abc" not in done.stderr, done.stderr
