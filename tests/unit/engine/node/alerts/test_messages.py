"""What people get, word for word: golden files of mails and webhook bodies."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.node.alerts.messages import NOTICES_MAX, Message, Origin, headline, json_of, mail_of, message_from
from engine.plan.alerts import Notice

NOON = 1_795_348_800_000_000
GOLDEN = Path(__file__).parent / "golden"
ORIGIN = Origin(
    "sf",
    "n1",
    "2 of 12 sources are not protected: finance/sf-db2/files (its agent is silent since 2026-11-22 10:53:20 UTC), "
    "web/w1/files (it is catching up)",
    NOON,
)
SILENT = Notice(
    "raised", "agent-silent", "sf-db2", NOON - HOUR, NOON, "its agent is silent since 2026-11-22 11:00:00 UTC"
)
MANY = (
    SILENT,
    Notice(
        "happened", "gap", "web/w1/files", NOON - 50 * SECOND, NOON - 10 * SECOND,
        "changes between 2026-11-22 11:59:10 UTC and 2026-11-22 11:59:50 UTC may have been missed (agent was killed)",
    ),
    Notice(
        "reminder", "rpo-missed", "finance/sf-db1/files", NOON - DAY, NOON,
        "its data is complete until 2026-11-21 12:00:00 UTC only; its objective is 5.0 s",
    ),
    Notice(
        "resolved", "disk-low", "journal", NOON - 2 * HOUR, NOON,
        "its disk has room again; it had begun at 2026-11-22 10:00:00 UTC",
    ),
    Notice(
        "happened", "control-changed", "control", NOON - MINUTE, NOON - MINUTE,
        "ann applied policies number 7, commit 0123456789ab: 12 sources",
    ),
)  # fmt: skip


def message(*notices: Notice, dropped: int = 0) -> Message:
    return Message("5f1c0d9e2b7a4c68", "on-call", "mail", "ops@example.org", NOON, notices, dropped)


CASES = {"one": message(SILENT), "many": message(*MANY, dropped=3), "test": message()}


@pytest.mark.parametrize("name", CASES)
def test_word_for_word(name: str, pytestconfig: pytest.Config) -> None:
    mail = mail_of(CASES[name], ORIGIN, "bcs@example.org").as_bytes().replace(b"\r\n", b"\n")
    for file, written in ((f"{name}.mail", mail), (f"{name}.json", json_of(CASES[name], ORIGIN) + b"\n")):
        path = GOLDEN / file
        if pytestconfig.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(written)
        assert written == path.read_bytes(), f"differs from {path}; --update-golden writes it anew"


def test_the_headline_is_what_is_new() -> None:
    assert headline(MANY) == "sf-db2: its agent is silent since 2026-11-22 11:00:00 UTC (and 4 more)"
    assert headline(MANY[2:4]).startswith("finance/sf-db1/files: its data is complete until")
    assert headline(MANY[4:]).endswith(": 12 sources, at 2026-11-22 11:59:00 UTC")


def test_of_many_notices_the_newest_are_kept() -> None:
    full = message(SILENT).with_more([SILENT] * (NOTICES_MAX + 10))
    assert (len(full.notices), full.dropped, full.id) == (NOTICES_MAX, 11, "5f1c0d9e2b7a4c68")
    assert f"{NOTICES_MAX + 11:,} things to know." in mail_of(full, ORIGIN, "a@b").get_content()


def test_a_message_survives_being_kept() -> None:
    for each in CASES.values():
        assert message_from(each.as_json() | {"notices": [dict(one) for one in each.as_json()["notices"]]}) == each


def test_nobodys_name_makes_a_header() -> None:
    evil = Notice("raised", "gap", "g/h/s\r\nBcc: all@example.org", NOON, NOON, "caf\udce9 \u2603")
    mail = mail_of(message(evil), Origin("s f\n", "n1", "x", NOON), "bcs@example.org")
    assert "Bcc" not in mail and b"\nBcc:" not in mail.as_bytes().partition(b"\r\n\r\n")[0]
    assert mail["Message-ID"].startswith("<5f1c0d9e2b7a4c68@s-f-.bcs>")
