"""From what is the matter to who is told: raised, resolved, kept over restarts; receivers that fail and come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.journal import control
from engine.model.times import DAY, MINUTE, SECOND, format_time
from engine.node.alerts import sending
from engine.node.alerts.delivery import Limits
from engine.node.alerts.mail import MailSettings
from engine.node.alerts.watch import Watch
from engine.plan.alerts import Notice
from engine.wire.batch import BatchBuilder
from tests.nodes import InProcessNode, Writer, acts, in_process_node, source, wait_for
from tests.ports import free_port
from tests.receivers import Got, mail_server, web_server
from tests.unit.engine.node.conftest import TurnedClock

EVENTS = ["gap", "rpo-missed", "agent-silent", "verify-failed", "control-changed"]
QUICK = Limits(0.5, 1.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RETRY_SECONDS_FIRST", 0.02)


@pytest.fixture
def receiver() -> Iterator[tuple[str, Got]]:
    with web_server() as served:
        yield served


def notify(node: InProcessNode, *targets: dict[str, str], on: list[str] | None = None, name: str = "on-call") -> None:
    """Policies with this Notification and two sources, on hosts h1 and h2."""
    document = {"kind": "Notification", "metadata": {"name": name}, "spec": {"on": on or EVENTS, "to": list(targets)}}
    sources = {each["address"]: each for each in (source("g/h1/files"), source("g/h2/files"))}
    base = node.parts.desired.number
    body = {"base": base, "documents": {f"Notification/{name}": document}, "sources": sources, "by": "ann"}
    assert node.call("POST", "/v1/policies", body).status == 201


def watch(node: InProcessNode) -> Watch:
    """The node's watch with short limits, looking at the node as it is."""
    node.parts.watch = Watch(node.parts, QUICK)
    node.parts.audit.on_act = node.parts.watch.heard_act
    return node.parts.watch


def report(node: InProcessNode, writer: Writer, clock: TurnedClock, **row: Any) -> None:
    told = {"stream": writer.stream, "state": "protected", "through_at": clock.at, **row}
    body = {"sources": [told], "generation": node.parts.desired.generation}
    assert node.call("POST", f"/v1/agents/{writer.host}/status", body).status == 200


def baseline(builder: BatchBuilder) -> None:
    builder.mark(1_799_999_999_000_000, "baseline", point_class="quiet")


def begun(node: InProcessNode, clock: TurnedClock) -> list[Writer]:
    """Both sources with a point, their agents just heard."""
    writers = [Writer(node, f"g/{host}/files", host=host) for host in ("h1", "h2")]
    for writer in writers:
        writer.open(None)
        writer.send(baseline)
        report(node, writer, clock)
    return writers


def told(notices: list[Notice]) -> list[tuple[str, str, str]]:
    return [(each.kind, each.event, each.subject) for each in notices if each.event != "control-changed"]


def sent(watching: Watch, got: Got, count: int) -> list[dict[str, Any]]:
    """All messages once so many have come."""

    def done() -> bool:
        watching.work()
        return len(got.bodies) >= count and watching.waiting() == 0

    wait_for(done, 120, f"{count} messages, {got.bodies}")
    return got.bodies


def test_a_silent_agent_is_told_once_and_once_it_is_back(
    node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got]
) -> None:
    url, got = receiver
    watching = watch(node)
    notify(node, {"webhook": url}, on=["agent-silent"])
    h1, h2 = begun(node, clock)
    assert told(watching.look()) == []
    begin = clock.at
    for _ in range(20):
        clock.at += 5 * SECOND
        report(node, h1, clock)
        watching.look()
    [message] = sent(watching, got, 1)
    assert message["summary"] == "h2: its agent is silent since 2027-01-15 08:00:00 UTC"
    assert message["status"].startswith("1 of 2 sources is not protected: g/h2/files (its agent is silent since")
    [notice] = message["notices"]
    assert (notice["kind"], notice["event"], notice["subject"]) == ("raised", "agent-silent", "h2")
    assert notice["since"] == format_time(begin)
    for _ in range(20):
        clock.at += 5 * SECOND
        report(node, h1, clock)
        report(node, h2, clock)
        watching.look()
    over = sent(watching, got, 2)[1]
    assert over["summary"] == "h2: its agent is back; it had begun at 2027-01-15 08:00:00 UTC"
    assert over["id"] != message["id"]
    assert got.paths == ["/hook/s3cret?key=1"] * 2


def test_a_lag_beyond_the_objective(node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got]) -> None:
    url, got = receiver
    watching = watch(node)
    notify(node, {"webhook": url}, on=["rpo-missed"])
    h1, h2 = begun(node, clock)
    through_at = clock.at
    for _ in range(5):
        clock.at += 5 * SECOND
        report(node, h1, clock)
        report(node, h2, clock, through_at=through_at)
        watching.look()
    [message] = sent(watching, got, 1)
    assert message["summary"] == (
        "g/h2/files: its data is complete until 2027-01-15 08:00:00 UTC only; its objective is 5.0 s"
    )


def test_gaps_that_are_open_and_gaps_that_came_and_went(
    node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got]
) -> None:
    url, got = receiver
    watching = watch(node)
    notify(node, {"webhook": url}, on=["gap"])
    h1, h2 = begun(node, clock)
    watching.look()
    report(node, h1, clock, gap_from=clock.at - SECOND)
    begin = clock.at

    def closes(builder: BatchBuilder) -> None:
        builder.mark(begin, "gap", label="agent was killed", gap_from=begin - 9 * SECOND)

    h2.send(closes)
    assert sorted(told(watching.look())) == [("happened", "gap", "g/h2/files"), ("raised", "gap", "g/h1/files")]
    [message] = sent(watching, got, 1)
    texts = {each["subject"]: each["text"] for each in message["notices"]}
    assert texts == {
        "g/h1/files": "a gap is open: changes since 2027-01-15 07:59:59 UTC may have been missed",
        "g/h2/files": "changes between 2027-01-15 07:59:51 UTC and 2027-01-15 08:00:00 UTC may have been missed "
        "(agent was killed)",
    }
    h1.send(closes)
    report(node, h1, clock)
    clock.at += MINUTE
    report(node, h1, clock)
    report(node, h2, clock)
    assert told(watching.look()) == []
    clock.at += MINUTE
    assert told(watching.look()) == [("resolved", "gap", "g/h1/files")]


def test_who_changed_the_policies(node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got]) -> None:
    url, got = receiver
    watching = watch(node)
    notify(node, {"webhook": url})
    watching.look()
    [message] = sent(watching, got, 1)
    assert message["summary"].endswith(
        "ann applied policies number 1, from no commit: 2 sources, at 2027-01-15 08:00:00 UTC"
    )


def test_a_failed_check_stands_until_one_that_finds_nothing(
    node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got], tmp_path: Path
) -> None:
    url, got = receiver
    notify(node, {"webhook": url}, on=["verify-failed"])
    watching = watch(node)
    node.parts.audit.act("check", "ann", {"errors": 2, "objects": 9})
    assert told(watching.look()) == [("raised", "verify-failed", "journal")]
    assert sent(watching, got, 1)[0]["summary"] == "journal: a check found 2 errors in the journal"
    watching = watch(node)  # as after a restart
    clock.at += 2 * MINUTE
    assert told(watching.look()) == []
    assert watching.last_check() is not None and watching.last_check().errors == 2  # type: ignore[union-attr]
    node.parts.audit.act("check", "ann", {"errors": 0, "objects": 9})
    watching.look()
    clock.at += 2 * MINUTE
    assert told(watching.look()) == [("resolved", "verify-failed", "journal")]


def test_a_restart_tells_nothing_twice_and_loses_nothing(
    tmp_path: Path, clock: TurnedClock, receiver: tuple[str, Got], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = receiver
    home = tmp_path / "home"
    monkeypatch.setattr(sending, "RETRY_SECONDS_FIRST", 600.0)  # it is for the next start to try again
    with in_process_node(home, clock) as node:
        watching = watch(node)
        notify(node, {"webhook": url}, on=["agent-silent"])
        begun(node, clock)
        got.answers = [503]
        for _ in range(10):
            clock.at += 5 * SECOND
            watching.look()
        watching.work()
        got.wait_tries(1)
        wait_for(lambda: bool(watching.work()), 120, "the failure")
        assert watching.waiting() == 1
    with in_process_node(home, clock) as node:
        watching = watch(node)
        assert watching.waiting() == 1
        [message] = sent(watching, got, 1)
        assert [each["subject"] for each in message["notices"]] == ["h1", "h2"]
        clock.at += 5 * SECOND
        assert told(watching.look()) == []
    with in_process_node(home, clock) as node:
        watching = watch(node)
        assert (watching.waiting(), watching.standing()["agent-silent"]) == (0, 2)
        clock.at += MINUTE
        watching.look()
        clock.at += DAY
        reminders = [("reminder", "agent-silent", "h1"), ("reminder", "agent-silent", "h2")]
        assert [each for each in told(watching.look()) if each[1] == "agent-silent"] == reminders


def test_a_receiver_that_fails_stalls_and_redirects_gets_it_in_the_end(
    node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = receiver
    watching = watch(node)
    notify(node, {"webhook": url}, on=["control-changed"])
    got.answers = [500, "stall", "drip", 302]
    watching.look()
    clock.at += SECOND
    outcomes: list[Any] = []

    def done() -> bool:
        outcomes.extend(watching.work())
        return bool(outcomes) and outcomes[-1].outcome == "delivered"

    wait_for(done, 120, "the delivery")
    assert [each.why for each in outcomes] == [
        "it was answered with 500",
        "nothing came for 0.5 s",
        "it took longer than 1.5 s",
        "it was answered with 302: a redirection, which is not followed",
        "",
    ]
    assert len({each.message.id for each in outcomes}) == 1
    recorded = [act for act in acts(node.home) if act["what"].startswith("notification-")]
    assert [act["what"] for act in recorded] == ["notification-failed", "notification-delivered"]
    assert recorded[1]["details"]["tries"] == 5
    assert "s3cret" not in json.dumps(recorded) and recorded[0]["details"]["to"].startswith("http://127.0.0.1:")


def test_what_comes_while_a_receiver_is_away_comes_as_one_message(node: InProcessNode, clock: TurnedClock) -> None:
    port = free_port()
    watching = watch(node)
    notify(node, {"webhook": f"http://127.0.0.1:{port}/"}, on=["control-changed"])
    watching.look()
    wait_for(lambda: any(each.outcome == "failed" for each in watching.work()), 120, "a failure")
    for number in range(3):
        node.parts.audit.act("token-create", "ann", {"name": f"t{number}"})
        watching.look()
    with web_server(port=port) as (_, got):
        [message] = sent(watching, got, 1)
    assert [each["text"] for each in message["notices"]] == [
        "ann applied policies number 1, from no commit: 2 sources",
        *(f"ann made the token 't{number}'" for number in range(3)),
    ]
    assert message["text"].startswith("4 things to know.")


def test_after_a_day_it_is_given_up_and_recorded(node: InProcessNode, clock: TurnedClock) -> None:
    watching = watch(node)
    notify(node, {"webhook": f"http://127.0.0.1:{free_port()}/"}, on=["control-changed"])
    watching.look()
    clock.at += DAY
    wait_for(lambda: any(each.outcome == "given-up" for each in watching.work()), 120, "giving up")
    assert watching.waiting() == 0
    [given_up] = [act for act in acts(node.home) if act["what"] == "notification-given-up"]
    assert "refused" in given_up["details"]["error"]


def test_a_stalled_receiver_holds_up_neither_another_nor_the_node(
    node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got]
) -> None:
    url, got = receiver
    with web_server() as (stalled, silent):
        silent.answers = ["stall"] * 10
        watching = watch(node)
        notify(node, {"webhook": stalled}, {"webhook": url}, on=["control-changed"])
        watching.look()
        watching.work()
        assert len(got.wait(1)) == 1
        silent.wait_tries(1)
        writers = begun(node, clock)
        for _ in range(5):
            writers[0].send(lambda builder: builder.mark(clock.at, "pass", point_class="quiet"))


def test_a_rule_that_went_is_told_nothing_more(node: InProcessNode, clock: TurnedClock) -> None:
    watching = watch(node)
    notify(node, {"webhook": f"http://127.0.0.1:{free_port()}/"}, on=["control-changed"])
    watching.look()
    assert watching.waiting() == 1
    notify(node, {"mail": "ann@example.org"}, on=["gap"], name="other")
    watching.look()
    assert watching.waiting() == 0


def test_mail_and_webhook_side_by_side(
    node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = receiver
    with mail_server() as (port, mails):
        settings = MailSettings("127.0.0.1", port, "bcs@example.org", "none")
        object.__setattr__(node.parts.settings, "mail", settings)
        mails.codes = ["451 try again later"]
        watching = watch(node)
        notify(node, {"webhook": url}, {"mail": "ops@example.org"}, on=["control-changed"])
        watching.look()
        sent(watching, got, 1)
        wait_for(lambda: (watching.work(), watching.waiting() == 0)[1], 120, "the mail")
        [mail] = mails.mails
    assert mail["To"] == "ops@example.org"
    assert mail["Subject"].startswith("[bcs local] control: ann applied policies number 1, from no commit: 2 sources")


def test_without_a_rule_nothing_is_written(node: InProcessNode, clock: TurnedClock) -> None:
    watching = watch(node)
    Writer(node, "g/h1/files", host="h1").protect()
    for _ in range(3):
        clock.at += DAY
        watching.look()
    assert control.numbers(node.parts.journal.store, "alerts") == []
    assert watching.standing() == {"agent-silent": 1, "rpo-missed": 1}


def test_what_was_told_before_can_be_unreadable(node: InProcessNode, capfd: pytest.CaptureFixture[str]) -> None:
    control.follow(node.parts.journal.store, "alerts", 0, {"standing": "nonsense"})
    watching = watch(node)
    notify(node, {"mail": "a@example.org"}, on=["control-changed"])
    watching.look()
    assert control.numbers(node.parts.journal.store, "alerts") == [1, 2]
    assert "what was told before is forgotten" in capfd.readouterr().err


def test_messages_to_test_with(node: InProcessNode, receiver: tuple[str, Got]) -> None:
    url, got = receiver
    watch(node)
    notify(node, {"webhook": url}, {"mail": "ops@example.org"})
    answer = node.call("POST", "/v1/notifications/test", {"name": "on-call"})
    first, second = answer.json["results"]
    assert first["delivered"] and first["to"].endswith("/…")
    assert not second["delivered"] and "no mail relay is named" in second["error"]
    assert got.bodies[0]["summary"] == "a test"
    assert node.call("POST", "/v1/notifications/test", {"name": "nobody"}).status == 404
    listed = node.call("GET", "/v1/notifications").json
    assert [each["name"] for each in listed["notifications"]] == ["on-call"]
    assert "s3cret" not in json.dumps(listed)
    assert [act["what"] for act in acts(node.home)][-1] == "notification-test"


def test_its_thread_tells_by_itself(node: InProcessNode, clock: TurnedClock, receiver: tuple[str, Got]) -> None:
    url, got = receiver
    watching = watch(node)
    notify(node, {"webhook": url}, on=["control-changed"])
    watching.start()
    try:
        assert got.wait(1)[0]["notices"][0]["event"] == "control-changed"
    finally:
        watching.stop(5)
