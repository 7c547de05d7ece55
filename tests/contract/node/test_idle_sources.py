"""An idle source is known to be idle: complete up to now without an event, also after the node starts again."""

from __future__ import annotations

from pathlib import Path

from engine.env.clock import Clock
from engine.model.times import SECOND, parse_time
from engine.query.points import known_until
from engine.query.session import Session
from tests.nodes import Node, Writer, file_of, in_process_node, journal_of, runs_of

ADDRESS = "g/localhost/files"
IDLE_SECONDS = 600


class Moved(Clock):
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead * SECOND

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def through_at(node: Node) -> int:
    [group] = node.call("GET", "/v1/status").json["groups"]
    return parse_time(group["sources"][0]["through_at"], 0)


def report(node: Node, writer: Writer, through: int) -> None:
    row = {"stream": writer.stream, "state": "protected", "through_at": through}
    answer = node.call("POST", "/v1/agents/localhost/status", {"sources": [row], "generation": 1})
    assert answer.status == 200, answer.text


def test_a_source_without_events_is_complete_up_to_now_and_stays_known_to_be(tmp_path: Path) -> None:
    clock = Moved()
    with in_process_node(tmp_path, clock) as node:
        writer = Writer(node, ADDRESS).protect()
        writer.send(file_of(b"content", at=clock.now(), kind="baseline"))
        for _ in range(IDLE_SECONDS // 60):
            clock.ahead += 60
            last = clock.now()
            report(node, writer, last)
            assert through_at(node) == last
    with journal_of(tmp_path) as journal, Session(journal) as session:
        assert known_until(session, writer.stream) == last
        assert sum(run.lsn_last - run.lsn_first + 1 for run in runs_of(journal, writer.stream)) == writer.lsn
    with in_process_node(tmp_path, clock) as node:
        assert through_at(node) == last
