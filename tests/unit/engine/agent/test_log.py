"""The agent's log: what changed, once; a batch by the digits that the node's log shows too."""

from __future__ import annotations

import pytest

from engine.agent import log


def test_what_stays_as_it_is_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    changes = log.Changes()
    for text in ("protected", "protected", "catching-up", "catching-up", "protected"):
        changes.now("finance/h/files", text)
    changes.now("web/h/files", "protected")
    changes.forget("web/h/files")
    changes.now("web/h/files", "protected")
    said = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert said == [
        "finance/h/files: protected",
        "finance/h/files: catching-up",
        "finance/h/files: protected",
        "web/h/files: protected",
        "web/h/files: protected",
    ]


@pytest.mark.parametrize(
    ("seconds", "refusal", "level", "said"),
    [
        (0.1, "", "info", ""),
        (0.1, "", "debug", "debug: batch acknowledged batch=0102030405060708 stream=s events=3 seconds=0.1"),
        (1.5, "", "info", "batch acknowledged batch=0102030405060708 stream=s events=3 seconds=1.5"),
        (
            0.1,
            "no such stream",
            "info",
            "batch refused: no such stream batch=0102030405060708 stream=s events=3 seconds=0.1",
        ),
    ],
)
def test_batches(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    refusal: str,
    level: str,
    said: str,
) -> None:
    monkeypatch.setenv("BCS_LOG_LEVEL", level)
    log.batch_sent("s", bytes(range(1, 33)), 3, seconds, refusal)
    assert capfd.readouterr().err.strip().partition(" ")[2] == said
