"""bcsctl notify: what it shows, and with a node that sends for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bcsctl.commands import notify
from engine.model.ids import parse_address, stream_id
from tests.embedded import Site
from tests.receivers import mail_server, web_server

from .conftest import Run

Golden = Callable[[str], None]
SINCE = "2026-11-22T11:00:00.000000Z"


def test_list(golden: Golden) -> None:
    alert = {"event": "agent-silent", "subject": "sf-db2", "text": "its agent is silent", "since": SINCE}
    rule = {
        "name": "on-call",
        "on": ["gap", "agent-silent"],
        "to": [{"type": "webhook", "to": "https://hooks.example.org/…"}, {"type": "mail", "to": "ops@example.org"}],
    }
    waits = {"notification": "on-call", "type": "mail", "to": "ops@example.org", "notices": 2, "since": SINCE}
    alerts = [{**alert, "told_at": SINCE}, {**alert, "subject": "sf-db3", "told_at": None}]
    notify.render_list({"alerts": alerts, "notifications": [rule], "waiting": [waits]})
    notify.render_list({"alerts": [], "notifications": [], "waiting": []})
    golden("notify-list")


def test_test(golden: Golden) -> None:
    good = {"notification": "on-call", "type": "mail", "to": "ops@example.org", "delivered": True, "error": ""}
    bad = {**good, "type": "webhook", "to": "https://h/…", "delivered": False, "error": "it was answered with 500"}
    notify.render_test([good, bad])
    notify.render_test([good])
    notify.render_test([good, good])
    golden("notify-test")


def test_test_messages_arrive(run: Run, tmp_path: Path) -> None:
    with web_server() as (url, got), mail_server() as (port, mails), Site(tmp_path / "home") as site:
        site.environment |= {"BCS_MAIL_HOST": "127.0.0.1", "BCS_MAIL_PORT": str(port)}
        site.start_node()
        assert run("notify", "test").code == 5
        applied(site, {"webhook": url}, {"mail": "ops@example.org"})
        done = run("notify", "test", "on-call", "--json")
        assert done.code == 0, done.err
        assert [each["delivered"] for each in done.json["results"]] == [True, True]
        assert got.bodies[0]["summary"] == "a test" and mails.mails[0]["To"] == "ops@example.org"
        got.answers = [500]
        assert run("notify", "test").code == 1
        listed = run("notify", "list", "--json").json
        assert [each["name"] for each in listed["notifications"]] == ["on-call"]
        assert run("notify", "test", "nobody").code == 5


def applied(site: Site, *targets: dict[str, str]) -> None:
    """Policies with one source and the notification on-call."""
    address = "docs/localhost/files"
    source: dict[str, Any] = {
        "stream": stream_id(parse_address(address)), "address": address, "kind": "files", "site": "local",
        "paths": ["/data"], "exclude": [], "rpo": "5s",
    }  # fmt: skip
    spec = {"on": ["gap"], "to": list(targets)}
    document = {"kind": "Notification", "metadata": {"name": "on-call"}, "spec": spec}
    body = {"base": 0, "documents": {"Notification/on-call": document}, "sources": {address: source}, "by": "a test"}
    site.request("POST", "/v1/policies", body)
