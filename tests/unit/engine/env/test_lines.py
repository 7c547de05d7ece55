"""Lines of a log: for people, as JSON, with a priority for the journal; one line each, and no secret in any."""

from __future__ import annotations

import json
import os

import pytest

from engine.env import lines
from engine.env.clock import Clock


class Noon(Clock):
    def now(self) -> int:
        return 1_795_348_800_000_000


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BCS_LOG", "BCS_LOG_LEVEL", "JOURNAL_STREAM"):
        monkeypatch.delenv(name, raising=False)


def written(capfd: pytest.CaptureFixture[str], level: str, text: str, **fields: object) -> str:
    lines.write("node", level, text, fields, Noon())
    return capfd.readouterr().err


def test_a_line_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    assert written(capfd, "info", "batch committed", batch="0123", seconds=1.5) == (
        "2026-11-22T12:00:00.000000Z batch committed batch=0123 seconds=1.5\n"
    )
    assert written(capfd, "warning", "slow") == "2026-11-22T12:00:00.000000Z warning: slow\n"


def test_a_line_for_programs(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_LOG", "json")
    assert json.loads(written(capfd, "info", "two\nlines", batch="0123", seconds=1.5)) == {
        "time": "2026-11-22T12:00:00.000000Z",
        "level": "info",
        "process": "node",
        "message": "two\nlines",
        "batch": "0123",
        "seconds": 1.5,
    }


@pytest.mark.parametrize(
    ("least", "level", "there"),
    [
        (None, "debug", False),
        (None, "info", True),
        ("debug", "debug", True),
        ("error", "warning", False),
        ("error", "error", True),
        ("loud", "debug", False),
        ("loud", "info", True),
    ],
)
def test_levels(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, least: str | None, level: str, there: bool
) -> None:
    if least:
        monkeypatch.setenv("BCS_LOG_LEVEL", least)
    assert bool(written(capfd, level, "x")) is there


@pytest.mark.parametrize("form", ["", "json"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the token bcs_1a2b_00112233445566778899aabb is no more", "00112233445566778899aabb"),
        ("the operator's bcs_ffeeddccbbaa99887766554433221100", "ffeeddccbbaa9988"),
        ("the enrolment bcse_12_00112233445566778899aabb of h", "00112233445566778899aabb"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ("https://ann:hunter2@hooks.example.org/x failed", "hunter2"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", "MHcCAQ"),
    ],
)
def test_secrets_are_hidden(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str, text: str, secret: str
) -> None:
    monkeypatch.setenv("BCS_LOG", form)
    assert secret not in written(capfd, "info", text)
    assert secret not in written(capfd, "info", "x", told=text)
    assert "hunter3" not in written(capfd, "info", "x", smtp_password="hunter3")


def test_a_name_neither_ends_a_line_nor_breaks_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    told = written(capfd, "info", "host a\n2026-11-22T12:00:00Z all is well", name="caf\udce9\x1b[31m")
    assert told.count("\n") == 1 and "\x1b" not in told and "\\n2026" in told


def test_a_failure_brings_its_traceback(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        raise ZeroDivisionError("the token bcs_1_00112233445566778899")
    except ZeroDivisionError as error:
        lines.write_failure("node", "GET / failed", error, Noon())
        plain = capfd.readouterr().err
        monkeypatch.setenv("BCS_LOG", "json")
        lines.write_failure("node", "GET / failed", error, Noon())
    assert "error: GET / failed" in plain and "Traceback" in plain and "00112233" not in plain
    told = json.loads(capfd.readouterr().err)
    assert told["level"] == "error" and "ZeroDivisionError" in told["traceback"]


def test_the_journal_learns_the_priority(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert written(capfd, "error", "x").startswith("<3>2026")
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert written(capfd, "error", "x").startswith("2026")


def test_names_of_metrics_are_no_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    assert "bcs_certificate_not_after_timestamp_seconds" in written(
        capfd, "info", "bcs_certificate_not_after_timestamp_seconds"
    )
