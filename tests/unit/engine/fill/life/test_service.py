"""The service that a recovery's processes are, with a systemctl that starts what a unit says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.fill.base import Place
from engine.fill.life import at_boot, service

SYSTEMCTL = """#!/bin/sh
echo "$@" >>{told}
case $1 in
start) test ! -e {broken} || {{ echo no such luck >&2; exit 1; }};;
show) echo 4711;;
esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    path = tmp_path / "50% of $all" / "recoveries" / "abc"
    path.mkdir(parents=True)
    return Place(path)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(service, "DIRECTORY", tmp_path)
    monkeypatch.setattr(at_boot, "possible", lambda: True)
    monkeypatch.delenv(service.WITHIN, raising=False)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "systemctl"
    script.write_text(SYSTEMCTL.format(told=tmp_path / "told", broken=tmp_path / "broken"))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def test_it_is_started_and_its_variables_are_nobody_elses(systemd: Path, place: Place) -> None:
    odd = 'a "b" $c \\ `d`'
    assert service.start(place, ["/bin/true"], {"BCS_SECRET": odd}) == 4711
    unit = systemd / "bcs-fill-abc.service"
    assert odd not in unit.read_text() and "BCS_SECRET" not in unit.read_text()
    kept = place.path / "environment"
    assert kept.stat().st_mode & 0o077 == 0
    told = subprocess.run(["sh", "-c", '. "$1"; printf %s "$BCS_SECRET"', "sh", kept], capture_output=True, text=True)
    assert told.stdout == odd, "systemd reads it as a shell does"
    assert (systemd / "told").read_text().splitlines()[0] == "start bcs-fill-abc.service"


def test_where_systemd_refuses_it_is_said_and_nothing_is_left(systemd: Path, place: Place) -> None:
    (systemd / "broken").touch()
    assert service.start(place, ["/bin/true"], {}) is None
    assert "no such luck" in place.log.read_text()
    assert not (systemd / "bcs-fill-abc.service").exists()


def test_processes_of_the_service_start_theirs_themselves(
    systemd: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(service.WITHIN, "bcs-fill-abc.service")
    assert service.start(place, ["/bin/true"], {}) is None
    assert not (systemd / "told").exists()


def test_nothing_stops_it_before_all_others_have_ended(place: Place, tmp_path: Path) -> None:
    text = service.text(place, [sys.executable, "-m", "engine.fill", "$x", "100%"])
    assert "DefaultDependencies=no" in text, "else it is stopped together with what it guards"
    assert "Conflicts" not in text
    assert "KillMode=process" in text, "else the holder goes when the supervisor is begun again"
    assert '"$$x" "100%%"' in text
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "bcs-fill-abc.service"
    path.write_text(text)
    done = subprocess.run([analyze, "verify", "--recursive-errors=no", path], capture_output=True, text=True)
    assert "bcs-fill-abc" not in done.stderr, done.stderr


def test_the_command_line_of_who_outlives_all_begins_with_an_at_sign() -> None:
    look = "from engine.fill.life import service; service.outlive(); print(open('/proc/self/cmdline').read()[0])"
    root = str(Path(service.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", look], env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True
    )
    assert done.stdout == "@\n", done.stderr
