"""The wait for every source of a site to be protected, or to be known not to come to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.env.clock import Clock
from engine.env.endpoint import Endpoint, request_json
from engine.node.monitoring.status import SAFE
from engine.reconcile.results import OnProgress, Result, SourceProgress

SILENT_SECONDS = 10.0
"""An agent that is neither heard of nor alive for so long has failed."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watched:
    """A site whose sources are waited for. `lost` says why nothing may be heard of a source any more, empty while it
    may; `hint` where to read what happened on its host."""

    site: str
    endpoint: Endpoint
    lost: Callable[[Row], str]
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
    while True:
        rows, now = rows_of(watched.endpoint), clock.monotonic()
        waited_for = 0
        why: dict[str, str] = {}
        for address, row in rows.items():
            progress = _progress(address, row)
            if seen.get(address) != progress:
                seen[address] = progress
                tell(progress)
            if lost := watched.lost(row):
                lost_since.setdefault(address, now)
            else:
                lost_since.pop(address, None)
            given_up = gone.get(host_of(address), "")
            if not given_up and now - lost_since.get(address, now) > SILENT_SECONDS:
                given_up = lost
            why[address] = given_up
            waited_for += not (protected(row) or row["state"] == "failed" or given_up)
        late = ends_at is not None and now >= ends_at
        if not waited_for or late:
            for address, row in rows.items():
                yield _result(watched, row, why[address] or ("it took too long" if late else ""))
            return
        clock.sleep(watched.poll_seconds)


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
