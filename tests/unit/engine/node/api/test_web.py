"""Faults of ours, full stores, and values that JSON has no form for."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from engine.journal.sequence import NotCommitted
from engine.model.errors import BcsError, Damaged, Failed, NothingThere, Refused, UsageError
from engine.node.api.bodies import Busy, TooLarge, TooSlow
from engine.node.api.web import error_response, parse_object
from engine.wire.errors import Malformed
from tests.nodes import HOST, InProcessNode, Writer, file_of
from tests.unit.engine.node.conftest import TurnedClock


def test_a_fault_of_ours_is_told_in_the_log_and_the_node_goes_on(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(type(node.parts.facts), "stored", broken)
    Writer(node, f"g/{HOST}/files").protect()
    answer = node.call("GET", "/v1/status")
    assert answer.status == 500
    assert answer.error["hint"] == "the node's log has the details"
    assert b"secret" not in answer.text and b"ZeroDivision" not in answer.text
    logged = capfd.readouterr().err
    assert "GET /v1/status failed: ZeroDivisionError" in logged
    assert "Traceback" in logged and "the secret of the house" in logged
    assert node.call("GET", "/v1/health").status == 200


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_store_is_no_fault_of_ours(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr(type(node.parts.facts), "stored", full)
    Writer(node, f"g/{HOST}/files").protect()
    answer = node.call("GET", "/v1/status")
    assert (answer.status, answer.error["code"]) == (507, "no-space")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 400),
        (Refused("x"), 403),
        (NothingThere("x"), 404),
        (TooSlow("x"), 408),
        (TooLarge("x"), 413),
        (Malformed("x"), 422),
        (Damaged("x"), 500),
        (Failed("x"), 500),
        (Busy("x"), 503),
        (NotCommitted("x"), 503),
        (NotCommitted("x", no_space=True), 507),
    ],
)
def test_status_of_an_error(error: BcsError, status: int) -> None:
    assert error_response(error).status_code == status


def test_details_of_any_kind_are_told() -> None:
    details: dict[str, Any] = {"bytes": b"na\xffme", "set": {"b", "a"}, "object": ValueError("v"), "text": "na\udcffme"}
    told = json.loads(bytes(error_response(Failed("x\udcff", details=details)).body))["error"]
    assert told["message"] == "x\udcff"
    assert told["details"] == {"bytes": "na\udcffme", "set": ["a", "b"], "object": "v", "text": "na\udcffme"}


def test_json_is_read_as_any_of_its_encodings() -> None:
    assert parse_object('{"a": "ü", "b": 1.5}'.encode("utf-16")) == {"a": "ü", "b": 1.5}
    assert parse_object(b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}")
    with pytest.raises(UsageError, match="deep"):
        parse_object(b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}")


# Reports, by a clock that is turned.


def report(node: InProcessNode, writer: Writer, **row: Any) -> None:
    desired = node.call("GET", f"/v1/agents/{HOST}/desired").json
    body = {
        "version": "1",
        "generation": desired["generation"],
        "sources": [{"stream": writer.stream, "state": "protected", **row}],
    }
    assert node.call("POST", f"/v1/agents/{HOST}/status", body).status == 200


def shown(node: InProcessNode) -> dict[str, Any]:
    return dict(node.call("GET", "/v1/status").json["groups"][0]["sources"][0])


def test_a_source_from_nothing_to_silent(node: InProcessNode, clock: TurnedClock) -> None:
    writer = Writer(node, f"g/{HOST}/files").protect()
    assert (shown(node)["healthy"], shown(node)["protected"]) == ("never-seen", "unprotected")
    node.call("POST", f"/v1/agents/{HOST}/hello", {"version": "1", "pid": 5})
    report(node, writer, state="baseline", baseline={"files": 3, "bytes": 4, "files_total": 9})
    assert (shown(node)["synced"], shown(node)["healthy"], shown(node)["protected"]) == (
        "synced", "healthy", "catching-up",
    )  # fmt: skip
    assert shown(node)["baseline"] == {"files": 3, "bytes": 4, "files_total": 9, "done": False}
    writer.send(file_of(b"x", kind="baseline", at=clock.at))
    report(node, writer, through_at=clock.at, unreadable=2)
    assert (shown(node)["protected"], shown(node)["unreadable"]) == ("protected", 2)
    clock.at += 4_000_000
    writer.send(file_of(b"y", at=clock.at - 250_000))
    assert shown(node)["durable_lag_ms"] == {"median": 250.0, "p99": 250.0}
    clock.at += 2_000_000
    assert (shown(node)["healthy"], shown(node)["protected"]) == ("silent", "unprotected")
    assert node.call("GET", "/v1/health").json["agents"][HOST]["pid"] == 5


def test_a_report_from_the_future_is_not_believed(node: InProcessNode, clock: TurnedClock) -> None:
    writer = Writer(node, f"g/{HOST}/files").protect()
    writer.send(file_of(b"x", kind="baseline", at=clock.at - 60_000_000))
    report(node, writer, through_at=clock.at + 1)
    assert (shown(node)["protected"], shown(node)["lag_seconds"]) == ("unprotected", 60.0)
    assert node.parts.committer.heads()[writer.stream].through_at == 0
    report(node, writer, through_at=clock.at)
    assert shown(node)["lag_seconds"] == 0.0
    assert node.parts.committer.heads()[writer.stream].through_at == clock.at


def test_a_report_of_another_hosts_stream_is_ignored(node: InProcessNode, clock: TurnedClock) -> None:
    writer = Writer(node, f"g/{HOST}/files").protect()
    body = {"sources": [{"stream": writer.stream, "state": "protected", "through_at": clock.at}], "generation": 1}
    assert node.call("POST", "/v1/agents/other/status", body).status == 200
    assert shown(node)["healthy"] == "never-seen"
    assert node.parts.committer.heads()[writer.stream].through_at == 0
