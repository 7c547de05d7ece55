"""Rights from AccessPolicy documents."""

from __future__ import annotations

from typing import Any

import pytest

from engine.plan.access import ALL_RIGHTS, EVERYTHING, NO_RIGHTS, Sight, access_policies, reaches, rights_of


def policy(subjects: list[dict[str, str]], roles: list[str], groups: list[str]) -> dict[str, Any]:
    return {"kind": "AccessPolicy", "spec": {"subjects": subjects, "roles": roles, "groups": groups}}


POLICIES = access_policies(
    {
        "AccessPolicy/operators": policy([{"user": "on-call"}, {"token": "ci"}], ["operator"], ["finance*", "wiki"]),
        "AccessPolicy/watchers": policy([{"user": "on-call"}], ["viewer"], ["*"]),
        "AccessPolicy/own": policy([{"user": "chief"}], ["admin"], ["finance"]),
        "ProtectionGroup/finance": {"kind": "ProtectionGroup", "spec": {}},
    }
)


@pytest.mark.parametrize(
    ("who", "role", "group", "may"),
    [
        ({"user": "on-call"}, "operator", "finance", True),
        ({"user": "on-call"}, "operator", "finance-eu", True),
        ({"user": "on-call"}, "operator", "wiki", True),
        ({"user": "on-call"}, "operator", "wiki2", False),
        ({"user": "on-call"}, "operator", None, False),
        ({"user": "on-call"}, "viewer", "anything", True),
        ({"user": "on-call"}, "viewer", None, True),
        ({"user": "on-call"}, "recoverer", "finance", False),
        ({"token": "ci"}, "operator", "finance", True),
        ({"token": "ci"}, "viewer", "other", False),
        ({"token": "on-call"}, "viewer", "finance", False),
        ({"user": "ci"}, "viewer", "finance", False),
        ({"user": "chief"}, "admin", "finance", True),
        ({"user": "chief"}, "viewer", "finance", True),
        ({"user": "chief"}, "admin", None, False),
        ({"user": "chief"}, "admin", "finance-eu", False),
        ({"user": "", "token": ""}, "viewer", "finance", False),
    ],
)
def test_a_role_holds_for_its_groups_and_includes_the_lower_ones(
    who: dict[str, str], role: str, group: str | None, may: bool
) -> None:
    assert rights_of(POLICIES, **who).may(role, group) is may


def test_user_and_token_add_up() -> None:
    both = rights_of(POLICIES, user="chief", token="ci")
    assert both.may("admin", "finance") and both.may("operator", "wiki")
    assert both.sight("viewer").globs == ("finance", "finance*", "wiki")


def test_rights_without_policies() -> None:
    assert ALL_RIGHTS.may("admin") and ALL_RIGHTS.sight("viewer").everything
    assert not NO_RIGHTS.may_somewhere("viewer") and not NO_RIGHTS.sight("viewer").sees("finance")


def test_what_is_the_sites_own_is_seen_by_those_who_see_everything() -> None:
    assert EVERYTHING.sees("_audit") and Sight(("*",)).sees("_audit")
    assert not Sight(("_*", "?*")).sees("_audit")
    assert not Sight(()).sees("finance")


def test_an_unknown_role_reaches_nothing() -> None:
    assert not reaches("owner", "viewer") and reaches("admin", "viewer") and not reaches("viewer", "operator")


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"spec": None},
        {"spec": {"subjects": [{"user": "x"}], "roles": "admin", "groups": ["*"]}},
        {"spec": {"subjects": [{"user": "x"}], "roles": ["admin"]}},
        {"spec": {"subjects": "x", "roles": ["admin"], "groups": ["*"]}},
        {"spec": {"subjects": [{"user": 1}], "roles": ["admin"], "groups": ["*"]}},
        {"spec": {"subjects": ["x"], "roles": ["admin"], "groups": ["*"]}},
    ],
)
def test_a_document_that_is_not_whole_grants_nothing(document: Any) -> None:
    assert access_policies({"AccessPolicy/bad": document}) == ()
