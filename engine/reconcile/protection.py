"""The wait for every source of a site to be protected, or to be known not to come to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.env.clock import Clock
from engine.env.endpoint import Endpoint, request_json
from engine.node.monitoring.status import SAFE
from engine.reconcile.results import OnProgress, Result, SourceProgress, Step

DEAD_SECONDS = 10.0
"""An agent that is known not to live, or is refused, for so long has failed."""
SILENT_SECONDS = 60.0
"""One of which nothing is heard may be starting again: so long, or as long as whoever waits has said."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watched:
    """A site whose sources are waited for. `lost` says why nothing is heard of a source any more, empty while it is;
    `dead` whether nothing will be; `hint` where to read what happened on its host."""

    site: str
    endpoint: Endpoint
    lost: Callable[[Row], str]
    dead: Callable[[Row], bool]
    hint: Callable[[Row], str]
    poll_seconds: float


def await_protection(
    watched: Watched, gone: Mapping[str, str], ends_at: float | None, tell: OnProgress, clock: Clock
) -> Iterator[Result]:
    """A result for each source, once all are protected or never will be, or the monotonic time `ends_at` has come.

    `gone` says of hosts why they are not waited for.
    """
    seen: dict[str, SourceProgress] = {}
    lost_since: dict[str, float] = {}
    told: dict[str, str] = {}
    while True:
        rows, now = rows_of(watched.endpoint), clock.monotonic()
        waited_for = 0
        why: dict[str, str] = {}
        for address, row in rows.items():
            progress = _progress(address, row)
            if seen.get(address) != progress:
                seen[address] = progress
                tell(progress)
            given_up, host = gone.get(host_of(address), ""), host_of(address)
            if lost := watched.lost(row):
                if not given_up and told.get(host) != lost:
                    told[host] = lost
                    tell(Step(f"waiting for {host}: {lost}"))
                since = lost_since.setdefault(address, now)
                given_up = given_up or (lost if now - since > _patience(watched, row, ends_at) else "")
            else:
                lost_since.pop(address, None)
                told.pop(host, None)
            why[address] = given_up
            waited_for += not (protected(row) or row["state"] == "failed" or given_up)
        late = ends_at is not None and now >= ends_at
        if not waited_for or late:
            for address, row in rows.items():
                yield _result(watched, row, why[address] or (_too_long(watched.lost(row)) if late else ""))
            return
        clock.sleep(watched.poll_seconds)


def _patience(watched: Watched, row: Row, ends_at: float | None) -> float:
    """For how many seconds nothing may be heard of a source."""
    if watched.dead(row):
        return DEAD_SECONDS
    return SILENT_SECONDS if ends_at is None else math.inf


def _too_long(lost: str) -> str:
    return f"it took too long: {lost}" if lost else "it took too long"


def rows_of(endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """{address: row} of the node's status, in order."""
    status = request_json(endpoint, "GET", "/v1/status")
    return {row["address"]: row for group in status["groups"] for row in group["sources"]}


def protected(row: Row) -> bool:
    """The agent says so too: until it does, what it counts is still the beginning of the baseline."""
    known = row["point"] is not None and bool(row["baseline"].get("done"))
    return known and row["protected"] in SAFE and row["synced"] == "synced"


def host_of(address: str) -> str:
    return address.split("/")[1]


def _progress(address: str, row: Row) -> SourceProgress:
    baseline = row["baseline"]
    return SourceProgress(
        address,
        row["state"],
        row["protected"],
        int(baseline.get("files", 0)),
        int(baseline.get("bytes", 0)),
        baseline.get("files_total"),
        baseline.get("bytes_total"),
        protected(row),
    )


def _result(watched: Watched, row: Row, why: str) -> Result:
    address = row["address"]
    if protected(row):
        return Result("Source", address, "protected", True, site=watched.site)
    message = str(row.get("message") or why or "the agent could not protect it")
    return Result("Source", address, row["protected"], False, message, watched.hint(row), watched.site)
