"""A viewer of some groups learns nothing of the others through a real node: not by a command, not by a route.

test_sight.py tries every command; here are those that ask the node, and a few of each kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env.endpoint import connect

from .remote import SECRET, WORDS, Remote, remote_site, trace

USERS = ("vera", "olga", "nils")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    with remote_site(tmp_path_factory.mktemp("groups")) as remote:
        yield remote


LOOKS = [
    ["history"],
    ["status"],
    ["status", "--hosts"],
    ["status", "quokka"],
    ["search", "*"],
    ["points", SECRET],
    ["cat", f"{SECRET}:/srv/okapi/narwhal.txt"],
    ["mark", "quokka", "--label", "x"],
    ["report", "recovery-audit", "--from", "-1d"],
    ["query", "from audit"],
    ["query", "select * from events where cast(name as integer) = 1"],
    ["check"],
    ["drill", "quokka"],
    ["restore", SECRET, "--to", "back"],
    ["restore", "finance/axolotl/narw", "--to", "back"],
    ["restore", "finance/x/y", "--to", "sf-db1:/back", "--dry-run"],
    ["whoami"],
    ["token", "list"],
    ["certificate", "list"],
]


def asked(argv: list[str]) -> set[str]:
    """The words that the question itself holds: an error may repeat them."""
    text = " ".join(argv)
    return {word for word in WORDS if word in text}


def test_an_operator_drills_what_he_sees_and_nothing_else(site: Remote) -> None:
    done = site.run("olga", "drill", "finance", "--json")
    told = done.json
    assert trace(done) == [] and told["group"] == "finance" and told["recorded"]
    # The site of these tests has no agents, so only what an agent would have told is missing.
    assert [row["name"] for row in told["checks"] if row["passed"] is False] == ["rpo"]
    assert done.code == 1
    assert site.run("vera", "drill", "finance").code == 4
    assert site.run("olga", "drill", "quokka").code == site.run("olga", "drill", "nowhere").code == 5
    acts = site.on_node("query", "select who, details from audit where what = 'drill'", "--json").json["rows"]
    assert [who for who, _ in acts] == ["olga (token olgas)"]


@pytest.mark.parametrize("argv", LOOKS, ids=" ".join)
def test_no_command_tells(site: Remote, argv: list[str]) -> None:
    for user in ("vera", "olga"):
        ran = site.run(user, *argv, "--json")
        assert ran.code in (0, 2, 4, 5), ran.text + ran.err
        assert set(trace(ran)) <= asked(argv)


@pytest.mark.parametrize(
    ("there", "nowhere"),
    [
        (["points", SECRET], ["points", "wombat/axolotl-host/narwhal"]),
        (["status", "quokka"], ["status", "wombat"]),
        (["restore", SECRET, "--to", "back"], ["restore", "wombat/axolotl-host/narwhal", "--to", "back"]),
        (
            ["restore", SECRET, "--to", "sf-db1:/x", "--dry-run"],
            ["restore", "wombat/axolotl-host/narwhal", "--to", "sf-db1:/x", "--dry-run"],
        ),
        (["mark", "quokka", "--label", "x"], ["mark", "wombat", "--label", "x"]),
    ],
    ids=lambda argv: argv[0],
)
def test_what_is_hidden_and_what_is_nowhere_answer_the_same(site: Remote, there: list[str], nowhere: list[str]) -> None:
    left, right = site.run("olga", *there, "--json"), site.run("olga", *nowhere, "--json")
    assert (left.code, left.text.replace("quokka", "wombat")) == (right.code, right.text)


def test_the_status_counts_what_is_seen(site: Remote) -> None:
    status = site.run("vera", "status", "--json").json
    assert status["summary"]["sources"] == 1 and [row["host"] for row in status["hosts"]] == ["sf-db1"]
    assert site.run("nils", "status", "--json").json["groups"] == []


@pytest.mark.parametrize("user", USERS)
def test_no_route_tells(site: Remote, user: str, tmp_path: Path) -> None:
    """Every GET, with ids that are guessed right."""
    stream = WORDS[-1]
    paths = ["/v1/status", "/v1/streams", "/v1/health", "/v1/whoami", "/v1/restores", "/v1/policies/latest", "/metrics"]
    paths += [f"/v1/streams/{stream}/{what}" for what in ("points", "ls?path=/srv", "cat?path=/srv/okapi/narwhal.txt")]
    paths += ["/v1/certificates", "/v1/tokens", "/v1/notifications", "/v1/sync"]
    for path in paths:
        connection = connect(site.node.endpoint(token=site.tokens[user]), 30.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode() + json.dumps(answer.getheaders())
        finally:
            connection.close()
        assert [word for word in WORDS if word in text and word not in path] == [], (path, text)
        if stream in path:
            assert answer.status == 404, path
