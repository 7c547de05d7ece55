"""Which site a command means."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from bcsctl.settings import home_option, settings
from bcsctl.sites import arguments, site_option
from engine.env import credentials
from engine.model.errors import UsageError
from tests.unit.engine.env.authority import authority


@pytest.fixture(autouse=True)
def workstation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("BCS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("BCS_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def sign_in(*sites: str) -> None:
    for site in sites:
        credentials.write(site, ["https://localhost:1"], authority(), f"bcs_{site}")


def meant(*argv: str) -> str | None:
    found: list[str | None] = []

    @click.command()
    @site_option
    @home_option
    def command(home: str | None) -> None:
        site = settings(home).site
        found.append(site.site if site else None)

    command.main(list(argv), standalone_mode=False)
    return found[0]


def test_the_only_one_signed_in_to() -> None:
    assert meant() is None
    sign_in("sf")
    assert meant() == "sf"
    sign_in("boston")
    assert meant() is None


def test_the_embedded_one_comes_before(workstation: Path) -> None:
    sign_in("sf")
    (workstation / "home" / "journal").mkdir(parents=True)
    assert meant() is None and meant("--site", "sf") == "sf"
    (workstation / "elsewhere").mkdir()
    assert meant("--home", str(workstation / "elsewhere")) is None


def test_flag_before_environment_before_file(workstation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in("sf", "boston", "tokyo")
    Path("bcs.toml").write_text('site = "tokyo"\n')
    assert meant() == "tokyo"
    monkeypatch.setenv("BCS_SITE", "boston")
    assert meant() == "boston" and meant("--site", "sf") == "sf" and meant("--site", "local") is None
    monkeypatch.setenv("BCS_SITE", "local")
    assert meant() is None


def test_a_site_that_nobody_signed_in_to() -> None:
    sign_in("sf")
    with pytest.raises(UsageError) as wrong:
        meant("--site", "boston")
    assert wrong.value.hint == "you are signed in to sf"
    with pytest.raises(UsageError):
        meant("--site", "sf", "--home", "x")


def test_a_site_in_the_file_is_a_name() -> None:
    Path("bcs.toml").write_text("site = 1\n")
    with pytest.raises(UsageError, match="is not a name"):
        meant()


def test_a_command_without_a_site_asks_for_none() -> None:
    sign_in("sf")
    assert settings().site is None


@click.command()
@click.argument("address")
@click.argument("rest", nargs=-1)
@click.option("--at", default="latest")
@click.option("--read-data", is_flag=True)
@click.option("--state", "states", multiple=True)
@click.option("--limit", type=int)
@site_option
@home_option
def look(**given: object) -> None:
    pass


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["a/b/c"], ["--", "a/b/c"]),
        (["--at", "-5m", "a/b/c", "--home", "x"], ["--at=-5m", "--", "a/b/c"]),
        (["--limit", "3", "--read-data", "a", "b", "c"], ["--read-data", "--limit=3", "--", "a", "b", "c"]),
        (["--state=x", "--state", "--y", "--", "--at"], ["--state=x", "--state=--y", "--", "--at"]),
    ],
)
def test_what_is_passed_on_reads_as_the_same(given: list[str], passed: list[str]) -> None:
    context = look.make_context("look", list(given))
    assert arguments(context) == passed
    again = look.make_context("look", list(passed))
    assert {**again.params, "home": None} == {**context.params, "home": None}
