"""bcsctl status: every source on its three axes, which are never mixed; the answer first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import click

from bcsctl.completing import GROUPS
from bcsctl.node_client import START_HINT, get
from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import BUSY, json_option, local_time, painted, print_json, say, tell
from bcsctl.redraw import redraw
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import site_option
from bcsctl.status_view import lines, moment
from engine.env.clock import SYSTEM
from engine.fill.life.recoveries import unguarded_sources
from engine.model.errors import NothingThere, Unreachable, UsageError
from engine.node.monitoring.hosts import STATES
from engine.node.monitoring.summary import answer, host_of, summary

__all__ = ["command", "moment", "render", "site"]

WATCH_SECONDS = 2.0

_Row = Mapping[str, Any]


@click.command("status", epilog=exits(4, 5))
@click.argument("group", required=False, shell_complete=GROUPS)
@click.option("--hosts", is_flag=True, help="Show hosts: agent, state and since when, clock, certificate.")
@click.option(
    "--traffic", is_flag=True, help="Bytes read, changed, sent since the agent began; stored since the node did."
)
@click.option("--host", metavar="GLOB", help="Only sources on hosts whose names match.")
@click.option("--selector", metavar="LABEL=VALUE,...", help="Only sources that have these labels.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only what is so; may be repeated.")
@click.option(
    "--watch", type=click.FloatRange(min=0.2), is_flag=False, flag_value=WATCH_SECONDS, metavar="[SECONDS]",
    help="Draw it again and again in place, until Ctrl-C.",
)  # fmt: skip
@site_option
@home_option
@json_option
def command(
    group: str | None,
    hosts: bool,
    traffic: bool,
    host: str | None,
    selector: str | None,
    states: tuple[str, ...],
    watch: float | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Show whether everything is protected, then every source on three axes: policy (synced), agent (healthy), data
    (protected).

    The node judges by what it has and when it last heard, never by an agent's word. Works with the node down too, from
    the journal; then nobody knows how the agents are.

    \b
    Example:  bcsctl status
              bcsctl status finance --json
              bcsctl status --hosts --state silent --state never-seen
              bcsctl status --traffic
              bcsctl status --watch 1
    """
    at = settings(home)
    labels = read_selector(selector)
    if watch and as_json:
        raise click.UsageError("--watch draws for the eye: leave out --json, and ask again yourself")

    def found() -> dict[str, Any]:
        return narrowed(site(at, group), host, labels)

    def drawn() -> list[str]:
        return with_hint(found(), hosts, states, traffic=traffic)

    if as_json:
        print_json(with_states(found(), states))
    elif watch:
        redraw(drawn, watch)
    else:
        whole = found()
        said = answer(whole["groups"], local_time) if states else ""
        render(with_states(whole, states), hosts=hosts, traffic=traffic, said=said)


def site(at: Settings, group: str | None = None) -> dict[str, Any]:
    """The status of the node, or of the journal when the node is down; of one group or of all."""
    try:
        found = get(at, "/v1/status")
    except Unreachable:
        if at.site is not None:
            raise
        from engine.node.monitoring.offline import status_of

        found = status_of(journal(at), SYSTEM.now())
    if at.site is None:
        found["unguarded"] = [
            {"address": each.recipe.address, "id": each.recipe.id, "danger": each.danger}
            for each in unguarded_sources(at.home)
        ]
    if group is not None:
        names = [one["name"] for one in found["groups"]]
        if group not in names:
            known = f"groups are {', '.join(names)}" if names else "nothing is protected yet: see `bcsctl apply`"
            raise NothingThere(f"there is no group '{group}'", hint=known)
        found["groups"] = [one for one in found["groups"] if one["name"] == group]
        found["hosts"] = _hosts_of(found)
    return found


def narrowed(found: Mapping[str, Any], host: str | None, labels: Mapping[str, str]) -> dict[str, Any]:
    """Only the sources on such hosts, with such labels; the answer is about those."""
    keep = [
        {**group, "sources": [row for row in group["sources"] if _matches(row, host, labels)]}
        for group in found["groups"]
    ]
    groups = [group for group in keep if group["sources"]]
    result = {**found, "groups": groups, "answer": answer(groups), "summary": summary(groups)}
    if labels:
        result["hosts"] = _hosts_of(result)
    if host is not None:
        result["hosts"] = [row for row in found.get("hosts") or [] if fnmatchcase(row["host"], host)]
    return result


def with_states(found: Mapping[str, Any], states: Sequence[str]) -> dict[str, Any]:
    """Only hosts that are in one of these states, and sources by the same words; the answer stays about all."""
    if not states:
        return dict(found)
    keep = [
        {**group, "sources": [row for row in group["sources"] if _state(row) in states]} for group in found["groups"]
    ]
    hosts = [row for row in found.get("hosts") or [] if row["state"] in states]
    return {**found, "groups": [group for group in keep if group["sources"]], "hosts": hosts}


def read_selector(text: str | None) -> dict[str, str]:
    """`application=finance,location=sf` as labels. UsageError for another form."""
    labels: dict[str, str] = {}
    for part in filter(None, (text or "").split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"'{part}' is not LABEL=VALUE", hint="write --selector application=finance,location=sf")
        labels[name.strip()] = value.strip()
    return labels


def render(found: Mapping[str, Any], *, hosts: bool = False, traffic: bool = False, said: str = "") -> None:
    """The answer, a table a group, and what needs words below it."""
    if found.get("node") is None:
        say(START_HINT, BUSY)
    tell("\n".join(lines(found, hosts=hosts, traffic=traffic, said=said)))


def with_hint(found: Mapping[str, Any], hosts: bool, states: Sequence[str], *, traffic: bool = False) -> list[str]:
    """All lines of one round of --watch."""
    hint = [painted(START_HINT, BUSY)] if found.get("node") is None else []
    said = answer(found["groups"], local_time) if states else ""
    return [*hint, *lines(with_states(found, states), hosts=hosts, traffic=traffic, said=said)]


def _matches(row: _Row, host: str | None, labels: Mapping[str, str]) -> bool:
    own = row.get("labels") or {}
    return (host is None or fnmatchcase(host_of(row), host)) and labels.items() <= own.items()


def _hosts_of(found: Mapping[str, Any]) -> list[Any]:
    """The hosts that the shown sources are on."""
    names = {host_of(row) for group in found["groups"] for row in group["sources"]}
    return [row for row in found.get("hosts") or [] if row["host"] in names]


def _state(row: _Row) -> str:
    """A source in the words for hosts."""
    condition = str(row["condition"])
    return {"protected": "healthy", "unproven": "healthy", "baseline": "catching-up"}.get(condition, condition)
