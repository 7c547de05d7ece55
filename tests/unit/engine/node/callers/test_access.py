"""Who may ask what: every route says what it needs, and refuses everybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from engine.journal.open import open_local
from engine.node.callers.access import _ACTS, NEEDS, allow
from engine.node.callers.caller import NOBODY, Caller
from engine.node.serve import application
from engine.query.user import run_sql
from tests.nodes import InProcessNode, source

LOCAL = Caller("local", "root", "")
STRANGER = NOBODY
VIEWER = Caller("user", "vera", "10.0.0.1:1", token="t-vera")
OPERATOR = Caller("user", "olga", "10.0.0.2:1", token="t-olga")
FOREIGN = Caller("user", "nora", "10.0.0.3:1", token="t-nora")
ADMIN = Caller("user", "root", "10.0.0.4:1", token="admins/root")
AGENT = Caller("agent", "sf-db1", "10.0.0.5:1", host="sf-db1", serial="01")
FINANCE, SECRET = "finance/sf-db1/files", "secret/sf-db2/files"


def rights(user: str, role: str, *groups: str) -> dict[str, Any]:
    spec = {"subjects": [{"user": user}], "roles": [role], "groups": list(groups)}
    return {f"AccessPolicy/{user}": {"kind": "AccessPolicy", "spec": spec}}


@pytest.fixture
def site(node: InProcessNode) -> Iterator[InProcessNode]:
    documents = rights("vera", "viewer", "finance*") | rights("olga", "operator", "finance*")
    documents |= rights("nora", "admin", "other")
    sources = {address: source(address) for address in (FINANCE, SECRET)}
    body = {"base": 0, "documents": documents, "sources": sources, "by": "a test"}
    assert node.call("POST", "/v1/policies", body).status == 201
    return node


def routes(node: InProcessNode) -> list[Route]:
    return [each for each in application(node.parts, "0").routes if isinstance(each, Route)]


def paths(route: Route) -> str:
    path = route.path
    for name in route.param_convertors:
        path = path.replace("{" + name + "}", "x").replace("{" + name + ":path}", "x")
        path = path.replace("{" + name + ":int}", "0")
    return path


def test_a_refusal_names_what_was_asked_for_as_people_do(site: InProcessNode) -> None:
    site.caller = VIEWER
    told = site.call("POST", "/v1/marks", {"group": "finance", "label": "x"}).error["message"]
    assert told == "vera (token t-vera) may not set marks: it needs the role operator on one group at least"
    site.caller = OPERATOR
    told = site.call("POST", "/v1/restores", {"address": FINANCE, "in_place": True}).error["message"]
    may_not = "olga (token t-olga) may not restore in place, or onto what stands there"
    assert told == f"{may_not}: it needs the role recoverer on group 'finance'", "to a new directory she may"
    known = {f"{method} {route.path}" for route in routes(site) for method in route.methods or ()}
    assert set(_ACTS) <= known


def test_every_route_says_what_it_needs(node: InProcessNode) -> None:
    for route in routes(node):
        needs = getattr(route.endpoint, "needs", ())
        assert needs and set(needs) <= set(NEEDS), f"{route.path} is not made with allow()"


def test_a_permission_that_is_none_is_a_fault() -> None:
    for wrong in ((), "root", ("viewer", "")):
        with pytest.raises(ValueError):
            allow(wrong, None)  # type: ignore[arg-type]


def test_a_stranger_gets_401_everywhere_but_where_everybody_may(site: InProcessNode) -> None:
    site.caller = STRANGER
    for route in routes(site):
        if "nobody" in route.endpoint.needs:  # type: ignore[attr-defined]
            continue
        for method in (route.methods or set()) - {"HEAD"}:
            answer = site.call(method, paths(route))
            assert (answer.status, answer.error["code"]) == (401, "unauthenticated"), route.path


def test_who_may_something_elsewhere_gets_403_or_sees_nothing(site: InProcessNode) -> None:
    site.caller = FOREIGN
    for route in routes(site):
        needs = route.endpoint.needs  # type: ignore[attr-defined]
        if {"nobody", "known"} & set(needs):
            continue
        for method in (route.methods or set()) - {"HEAD"}:
            answer = site.call(method, paths(route), b"{}" if method == "POST" else None)
            assert answer.status in (400, 403, 404) or method == "GET", route.path
            assert b"finance" not in answer.text and b"secret" not in answer.text, route.path


def test_an_unknown_caller_is_a_stranger(site: InProcessNode) -> None:
    """A listener that says nothing of who asks lets nobody in."""
    from starlette.testclient import TestClient

    with TestClient(application(site.parts, "0")) as client:
        assert client.get("/v1/status").status_code == 401


def test_agents_speak_for_their_own_host_alone(site: InProcessNode) -> None:
    site.caller = AGENT
    assert site.call("POST", "/v1/agents/sf-db1/hello", {"version": "1"}).status == 200
    assert site.call("POST", "/v1/agents/sf-db2/hello", {"version": "1"}).status == 403
    assert site.call("GET", "/v1/agents/sf-db1/desired?host=sf-db2").status == 403
    stream, other = (source(address)["stream"] for address in (FINANCE, SECRET))
    opened = {"host": "sf-db1", "writer": "w", "record": None}
    assert site.call("POST", f"/v1/streams/{stream}/open", opened).status == 200
    assert site.call("POST", f"/v1/streams/{other}/open", {**opened, "host": "sf-db2"}).status == 403
    assert site.call("POST", f"/v1/streams/{other}/batches?host=sf-db2", b"x").status == 403
    assert site.call("POST", f"/v1/streams/{stream}/batches", b"x").status == 403
    for path in ("/v1/status", "/v1/streams", f"/v1/streams/{stream}/ls"):
        assert site.call("GET", path).status == 403, path
    assert site.call("POST", "/v1/policies", {}).status == 403


def test_users_are_no_agents(site: InProcessNode) -> None:
    for caller in (VIEWER, OPERATOR, ADMIN):
        site.caller = caller
        assert site.call("POST", "/v1/agents/sf-db1/hello", {"version": "1"}).status == 403


def test_a_viewer_sees_the_groups_of_the_policy_alone(site: InProcessNode) -> None:
    site.caller = VIEWER
    status = site.call("GET", "/v1/status")
    assert [group["name"] for group in status.json["groups"]] == ["finance"]
    assert b"secret" not in status.text and b"sf-db2" not in status.text
    site.caller = ADMIN
    assert [group["name"] for group in site.call("GET", "/v1/status").json["groups"]] == ["finance", "secret"]


def test_nobody_from_afar_has_the_node_list_a_whole_tree(site: InProcessNode) -> None:
    site.caller = AGENT
    stream = source(FINANCE)["stream"]
    opened = {"host": "sf-db1", "writer": "w", "record": None}
    assert site.call("POST", f"/v1/streams/{stream}/open", opened).status == 200
    site.caller = VIEWER
    refused = site.call("GET", f"/v1/streams/{stream}/ls?recursive=true")
    assert (refused.status, refused.error["code"]) == (403, "refused")
    site.caller = LOCAL
    assert site.call("GET", f"/v1/streams/{stream}/ls?recursive=true").status == 404


def test_marks_need_an_operator_of_the_group(site: InProcessNode) -> None:
    body = {"group": "finance", "label": "tonight"}
    site.caller = VIEWER
    assert site.call("POST", "/v1/marks", body).status == 403
    site.caller = OPERATOR
    asked = site.call("POST", "/v1/marks", body)
    assert asked.status == 201
    id_ = asked.json["marks"][0]["id"]
    assert site.call("GET", f"/v1/marks/{id_}").status == 200
    there = site.call("POST", "/v1/marks", {**body, "group": "secret"})
    nowhere = site.call("POST", "/v1/marks", {**body, "group": "nonsense"})
    assert there.status == nowhere.status == 403
    assert there.error["message"] == nowhere.error["message"].replace("nonsense", "secret")
    site.caller = LOCAL
    hidden = site.call("POST", "/v1/marks", {**body, "group": "secret"}).json["marks"][0]["id"]
    site.caller = OPERATOR
    assert site.call("GET", f"/v1/marks/{hidden}").text == site.call("GET", "/v1/marks/none").text


def test_what_changes_a_source_needs_a_recoverer_of_its_group(site: InProcessNode) -> None:
    stream = source(FINANCE)["stream"]
    in_place = {"address": FINANCE, "in_place": True, "dry_run": True}
    recovery = {"id": "0123", "position": "1.5", "who": "me"}
    for caller in (VIEWER, OPERATOR, AGENT, STRANGER):
        site.caller = caller
        assert site.call("POST", "/v1/restores", in_place).status in (401, 403), caller
        assert site.call("POST", f"/v1/streams/{stream}/recoveries", recovery).status in (401, 403), caller
    site.caller = OPERATOR
    assert "recoverer" in site.call("POST", "/v1/restores", in_place).error["message"]
    site.caller = FOREIGN
    there = site.call("POST", f"/v1/streams/{stream}/recoveries", recovery)
    nowhere = site.call("POST", "/v1/streams/none/recoveries", recovery)
    assert there.status == nowhere.status == 403
    assert there.error["message"].replace(stream, "none") == nowhere.error["message"]
    site.caller = ADMIN
    assert site.call("POST", "/v1/restores", in_place).status == 404, "there is nothing yet, but it may be asked for"
    assert site.call("POST", f"/v1/streams/{stream}/recoveries", recovery).status == 404


def test_policies_need_an_admin_of_every_group(site: InProcessNode) -> None:
    body = {"base": 1, "documents": {}, "sources": {}, "by": "somebody else"}
    for caller in (VIEWER, OPERATOR, FOREIGN, AGENT):
        site.caller = caller
        assert site.call("POST", "/v1/policies", body).status == 403
    site.caller = ADMIN
    assert site.call("POST", "/v1/policies", body).status == 201


def test_rights_follow_the_policies_at_once(site: InProcessNode) -> None:
    site.caller = VIEWER
    assert site.call("GET", "/v1/status").status == 200
    site.caller = LOCAL
    body = {"base": 1, "documents": {}, "sources": {FINANCE: source(FINANCE)}, "by": "a test"}
    assert site.call("POST", "/v1/policies", body).status == 201
    site.caller = VIEWER
    assert site.call("GET", "/v1/status").status == 403


def test_health_tells_strangers_no_more_than_that_it_is_there(site: InProcessNode) -> None:
    for caller, more in ((STRANGER, False), (VIEWER, False), (AGENT, False), (ADMIN, True), (LOCAL, True)):
        site.caller = caller
        found = site.call("GET", "/v1/health").json
        assert {"version", "time"} <= set(found) and ("journal" in found) is more


def audit(node: InProcessNode) -> list[dict[str, Any]]:
    key = bytes.fromhex((node.home / "keys" / "master.key").read_text().strip())
    with open_local(node.home / "journal", key) as journal:
        _, rows = run_sql(journal, 'select what, who, details from audit order by "at"')
    return [{**json.loads(details), "what": what, "who": who} for what, who, details in rows]


def test_acts_and_refusals_are_in_the_audit_stream(site: InProcessNode) -> None:
    site.caller = OPERATOR
    site.call("POST", "/v1/marks", {"group": "finance", "label": "tonight"})
    site.call("POST", "/v1/policies", {})
    site.caller = STRANGER
    site.call("GET", "/v1/status")
    rows = {row["who"]: row for row in audit(site) if row["what"] == "access-refused"}
    refused, stranger = rows["olga (token t-olga)"], rows["nobody"]
    apply, mark = (next(row for row in audit(site) if row["what"] == what) for what in ("apply", "mark"))
    assert (apply["what"], apply["from"]) == ("apply", "the node's own socket")
    assert (mark["what"], mark["who"], mark["from"]) == ("mark", "olga (token t-olga)", "10.0.0.2:1")
    assert (refused["what"], refused["kind"], refused["who"]) == ("access-refused", "not-authorised", mark["who"])
    assert (refused["method"], refused["path"], refused["from"]) == ("POST", "/v1/policies", "10.0.0.2:1")
    assert "role admin on every group" in refused["error"]
    assert (stranger["kind"], stranger["who"]) == ("unauthenticated", "nobody")


def test_a_flood_of_refusals_does_not_fill_the_journal(site: InProcessNode) -> None:
    site.caller = STRANGER
    for _ in range(200):
        assert site.call("GET", "/v1/status").status == 401
    assert len([row for row in audit(site) if row["what"] == "access-refused"]) == 30
    site.parts.audit.flush(at_once=True)
    assert [row["count"] for row in audit(site) if row["what"] == "refused-more"] == [170]
