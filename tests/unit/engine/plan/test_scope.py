"""Which sources a restore is about, and where they land."""

from __future__ import annotations

import pytest

from engine.model.errors import NothingThere, UsageError
from engine.model.ids import Address
from engine.plan.scope import chosen, landings, parse_scope

KNOWN = {
    Address("finance", "db1", "files"): {"application": "finance", "location": "sf"},
    Address("finance", "db2", "files"): {"application": "finance", "location": "sf"},
    Address("finance", "db2", "mail"): {"application": "finance", "location": "sf"},
    Address("web", "db1", "files"): {"application": "web", "location": "sf"},
}


def found(text: str, selector: str = "") -> list[str]:
    return [str(address) for address in chosen(parse_scope(text, selector), KNOWN)]


@pytest.mark.parametrize(
    ("text", "selector", "wanted"),
    [
        ("finance/db1/files", "", ["finance/db1/files"]),
        ("finance/db2", "", ["finance/db2/files", "finance/db2/mail"]),
        ("finance", "", ["finance/db1/files", "finance/db2/files", "finance/db2/mail"]),
        ("db1", "", ["finance/db1/files", "web/db1/files"]),
        ("*/db1", "", ["finance/db1/files", "web/db1/files"]),
        ("*/*/mail", "", ["finance/db2/mail"]),
        ("", "application=web", ["web/db1/files"]),
        ("db1", "application=finance,location=sf", ["finance/db1/files"]),
    ],
)
def test_scopes(text: str, selector: str, wanted: list[str]) -> None:
    assert found(text, selector) == wanted


@pytest.mark.parametrize("text", ["", "a//b", "a/b/c/d", "/a"])
def test_what_names_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse_scope(text)


def test_what_is_not_there_is_told_with_what_is() -> None:
    with pytest.raises(NothingThere) as caught:
        found("finanse")
    assert "finance" in caught.value.hint
    with pytest.raises(NothingThere):
        found("", "application=none")


def test_a_group_and_a_host_of_one_name_are_told_apart() -> None:
    known = {**KNOWN, Address("db1", "x", "files"): {}}
    with pytest.raises(UsageError, match="a group and a host"):
        chosen(parse_scope("db1"), known)
    assert [str(each) for each in chosen(parse_scope("db1/*"), known)] == ["db1/x/files"]


def test_only_an_address_without_wildcards_is_one() -> None:
    assert parse_scope("a/b/c").one
    assert not any(parse_scope(text, more).one for text, more in (("a/b", ""), ("a/b/*", ""), ("a/b/c", "k=v")))


def test_two_that_would_meet_land_below_their_groups() -> None:
    assert landings(chosen(parse_scope("finance/db2"), KNOWN), b"/t") == {
        Address("finance", "db2", "files"): b"/t/db2/files",
        Address("finance", "db2", "mail"): b"/t/db2/mail",
    }
    assert set(landings(chosen(parse_scope("db1"), KNOWN), b"/t").values()) == {
        b"/t/finance/db1/files",
        b"/t/web/db1/files",
    }
