"""The user's credentials: a file of the user's alone."""

from __future__ import annotations

import json
import os
import ssl
import sys
import types
from pathlib import Path

import pytest

from engine.env import credentials
from engine.model.errors import Refused, Unauthenticated, UsageError
from tests.unit.engine.env.authority import authority

URLS = ("https://sf-bcs1:8440",)
CA = """\
-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgIUPoC0nEzp7GB0g9u1Ff5rxqVzbLUwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("BCS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def ca() -> str:
    """A real authority's certificate."""
    return authority()


def test_written_and_read_again(ca: str) -> None:
    assert credentials.sites() == [] and credentials.read("sf") is None
    credentials.write("sf", URLS, ca, "bcs_1_a")
    credentials.write("boston", ["https://b1:1", "https://b2"], ca, "bcs_2_b")
    assert credentials.sites() == ["boston", "sf"]
    found = credentials.read("sf")
    assert found is not None and (found.urls, found.token) == (URLS, "bcs_1_a")
    endpoint = found.endpoint()
    assert (endpoint.urls, endpoint.token) == (URLS, "bcs_1_a")
    assert endpoint.context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert endpoint.context.check_hostname and endpoint.context.verify_mode == ssl.CERT_REQUIRED
    assert credentials.forget("sf") and not credentials.forget("sf")
    assert credentials.sites() == ["boston"]


def test_the_file_is_the_users_alone(ca: str) -> None:
    old = os.umask(0)
    try:
        credentials.write("sf", URLS, ca, "bcs_1_a")
    finally:
        os.umask(old)
    assert credentials.path().stat().st_mode & 0o777 == 0o600
    assert credentials.path().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(ca: str, mode: int) -> None:
    credentials.write("sf", URLS, ca, "bcs_1_a")
    credentials.path().chmod(mode)
    for ask in (lambda: credentials.read("sf"), credentials.sites, lambda: credentials.forget("sf")):
        with pytest.raises(Refused, match="may be read by others") as refused:
            ask()
        assert "bcs_1_a" not in str(refused.value)


def test_the_environment_wins(ca: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.write("sf", URLS, ca, "bcs_1_a")
    file = home / "token"
    file.write_text("  bcs_3_file\n")
    file.chmod(0o600)
    monkeypatch.setenv("BCS_TOKEN_FILE", str(file))
    assert credentials.read("sf").token == "bcs_3_file"  # type: ignore[union-attr]
    monkeypatch.setenv("BCS_TOKEN", "bcs_4_env")
    assert credentials.read("sf").token == "bcs_4_env"  # type: ignore[union-attr]
    monkeypatch.delenv("BCS_TOKEN")
    file.chmod(0o644)
    with pytest.raises(Refused):
        credentials.read("sf")


def test_a_site_out_of_the_environment_alone(ca: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "ca.pem").write_text(ca)
    monkeypatch.setenv("BCS_URL", "https://sf-bcs1:8440,https://sf-bcs2:8440")
    with pytest.raises(Unauthenticated, match="BCS_CA_FILE"):
        credentials.read("sf")
    monkeypatch.setenv("BCS_CA_FILE", str(home / "ca.pem"))
    monkeypatch.setenv("BCS_TOKEN", "bcs_5_e")
    found = credentials.read("sf")
    assert found is not None and (len(found.urls), found.token) == (2, "bcs_5_e")
    found.endpoint()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sites": []}', '{"sites": {"sf": 1}}', "secret"])
def test_a_file_of_another_kind_is_named_and_not_repeated(content: str) -> None:
    credentials.path().parent.mkdir(parents=True)
    credentials.path().write_text(content)
    credentials.path().chmod(0o600)
    with pytest.raises(UsageError) as wrong:
        credentials.sites()
    assert str(credentials.path()) in wrong.value.message and "secret" not in wrong.value.message


@pytest.mark.parametrize("text", ["", " \n", "two words", "é", "x" * 600])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(UsageError) as wrong:
        credentials.check_token(text, "the file")
    assert wrong.value.message == "the file holds no token"


def test_no_authority_no_writing() -> None:
    with pytest.raises(UsageError):
        credentials.write("sf", URLS, "nonsense", "bcs_1_a")
    with pytest.raises(UsageError):
        credentials.write("sf", ["http://plain"], CA, "bcs_1_a")
    assert not credentials.path().exists()


def test_a_token_in_the_keyring(ca: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[str, str], str] = {}
    ring = types.ModuleType("keyring")
    ring.set_password = lambda service, name, secret: kept.update({(service, name): secret})  # type: ignore[attr-defined]
    ring.get_password = lambda service, name: kept.get((service, name))  # type: ignore[attr-defined]
    ring.delete_password = lambda service, name: kept.pop((service, name))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    credentials.write("sf", URLS, ca, "bcs_6_k", in_keyring=True)
    assert "bcs_6_k" not in credentials.path().read_text()
    assert credentials.read("sf").token == "bcs_6_k"  # type: ignore[union-attr]
    credentials.forget("sf")
    assert kept == {} and json.loads(credentials.path().read_text()) == {"sites": {}}


def test_without_the_keyring_library(ca: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError, match="not installed"):
        credentials.write("sf", URLS, ca, "bcs_6_k", in_keyring=True)
