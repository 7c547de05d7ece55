"""A node's settings: read strictly, with the embedded site's values for what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import UsageError
from engine.node.settings import CERTIFICATE_SECONDS, listen_address, read_settings


def write(home: Path, value: Any) -> Path:
    (home / "node").mkdir(exist_ok=True)
    (home / "node" / "node.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return home


def test_without_a_file_it_is_the_embedded_site(tmp_path: Path) -> None:
    found = read_settings(tmp_path)
    assert (found.site, found.listen, found.urls) == ("local", "", ())
    assert (found.journal, found.master_key) == (tmp_path / "journal", tmp_path / "keys" / "master.key")
    assert found.certificate_seconds == CERTIFICATE_SECONDS == 604_800


def test_everything_that_may_be_told(tmp_path: Path) -> None:
    told = {
        "site": "sf",
        "host": "sf-bcs1",
        "urls": ["https://sf-bcs1:8440"],
        "listen": "0.0.0.0:8440",
        "journal": "/srv/journal",
        "master_key": "/etc/bcs/master.key",
        "commit_every": 5000,
        "certificate_seconds": 3600,
    }
    found = read_settings(write(tmp_path, told))
    for name, value in told.items():
        shown = getattr(found, name)
        assert (str(shown) if isinstance(shown, Path) else list(shown) if isinstance(shown, tuple) else shown) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not JSON"),
        ([], "not a JSON object"),
        ({"lisen": "x"}, "there is no setting 'lisen'"),
        ({"listen": "8440"}, "is not ADDRESS:PORT"),
        ({"listen": "0.0.0.0:x"}, "is not ADDRESS:PORT"),
        ({"listen": "0.0.0.0:70000"}, "is not ADDRESS:PORT"),
        ({"urls": "https://a"}, "urls is a list"),
        ({"urls": ["http://a"]}, "no node's URL"),
        ({"site": 5}, "site is 5, not a text"),
        ({"commit_every": -1}, "commit_every is -1"),
        ({"commit_every": True}, "commit_every is true"),
        ({"certificate_seconds": 1}, "certificate_seconds 1 is less than"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_files_name(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        read_settings(write(tmp_path, value))
    assert "node.json" in raised.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.0.0.0:8440", ("0.0.0.0", 8440)), ("[::]:1", ("::", 1)), ("sf-bcs1:0", ("sf-bcs1", 0))],
)
def test_where_to_listen(text: str, expected: tuple[str, int]) -> None:
    assert listen_address(text) == expected
