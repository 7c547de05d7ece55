"""The answer before the tables, in one sentence."""

from __future__ import annotations

from typing import Any

from engine.node.monitoring.summary import answer, summary

SINCE = "2026-11-22T11:59:00.000000Z"


def row(address: str, condition: str = "protected", since: str | None = None) -> dict[str, Any]:
    protected = {
        "protected": "protected",
        "unproven": "unproven",
        "baseline": "catching-up",
        "catching-up": "catching-up",
    }
    return {
        "address": address,
        "condition": condition,
        "since": since,
        "protected": protected.get(condition, "unprotected"),
    }


def groups(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    names = dict.fromkeys(each["address"].split("/")[0] for each in rows)
    return [{"name": name, "sources": [each for each in rows if each["address"].startswith(name)]} for name in names]


def test_all_is_well() -> None:
    assert answer([]) == "Nothing is protected yet"
    assert answer(groups(row("a/h1/x"))) == "The only source is protected"
    assert answer(groups(row("a/h1/x"), row("b/h1/y"))) == "All 2 sources on 1 host are protected"
    many = [row(f"a/h{number % 3}/s{number}") for number in range(1200)]
    assert answer(groups(*many)) == "All 1,200 sources on 3 hosts are protected"


def test_what_is_not_protected_comes_worst_first_with_its_reason() -> None:
    rows = groups(row("a/h1/x", "catching-up"), row("a/h2/x", "silent", SINCE), row("a/h3/x"))
    assert answer(rows) == (
        f"2 of 3 sources are not protected: a/h2/x (its agent is silent since {SINCE}), a/h1/x (it is catching up)"
    )
    assert answer(rows, lambda at: "noon").count("since noon") == 1
    assert answer(groups(row("a/h1/x", "baseline"))) == (
        "The only source is not protected: a/h1/x (its baseline is being taken)"
    )


def test_of_many_three_are_named() -> None:
    rows = groups(*(row(f"a/h{number}/x", "lagging", SINCE) for number in range(9)))
    assert answer(rows).endswith(f"a/h2/x (its data lags since {SINCE}), and 6 more")


def test_without_a_node_nobody_knows() -> None:
    assert answer(groups(row("a/h1/x", "unknown"), row("a/h2/x", "unknown"))) == (
        "Nobody knows whether 2 sources are protected: the node is not running"
    )


def test_counts() -> None:
    rows = groups(row("a/h1/x"), row("a/h1/y", "lagging"), row("b/h2/x", "lagging"))
    assert summary(rows) == {"sources": 3, "protected": 1, "hosts": 2, "conditions": {"protected": 1, "lagging": 2}}


def test_what_no_drill_shows_is_said_of_what_is_protected() -> None:
    unproven = {**row("a/h1/x", "unproven"), "drill_reason": "its last drill failed: checksums"}
    assert answer(groups(unproven)) == (
        "The only source is protected, but not proven by a drill: a (its last drill failed: checksums)"
    )
    more = [{**row(f"g{number}/h1/x", "unproven"), "drill_reason": "old"} for number in range(5)]
    assert answer(groups(row("b/h1/x"), *more)) == (
        "All 6 sources on 1 host are protected, but not proven by a drill: g0 (old), g1 (old), g2 (old), and 2 more"
    )
    assert answer(groups(unproven, row("b/h1/x", "lagging", SINCE))).startswith("1 of 2 sources is not protected")
    assert summary(groups(unproven))["protected"] == 1
