"""What an apply tells while it goes on, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.deploy.outcome import Progress
from engine.model.policy.site import EMBEDDED_SITE


@dataclass(frozen=True, slots=True)
class Step:
    """Something begins; one line for people."""

    text: str


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """How far a source is. Totals are None until they are known."""

    address: str
    state: str
    protected: str
    files: int
    bytes: int
    files_total: int | None
    bytes_total: int | None
    done: bool


OnProgress = Callable[[Step | Progress | SourceProgress], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one thing: `state` is ok, changed, failed, unreachable, or the protection of a source."""

    kind: str
    name: str
    state: str
    ok: bool
    message: str = ""
    hint: str = ""
    site: str = EMBEDDED_SITE

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("kind", "name", "site", "state", "ok", "message", "hint")}


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """`numbers` are, by site, the control numbers that hold now. `converged`: nothing failed and every source is
    protected. `again`: a node answers now that did not when the plan was made, so there may be more to do."""

    numbers: Mapping[str, int]
    results: tuple[Result, ...]
    converged: bool
    again: bool = False

    @property
    def number(self) -> int:
        """Of the embedded site, or of the first where that has no part in it."""
        return self.numbers.get(EMBEDDED_SITE, next(iter(self.numbers.values()), 0))

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.results)

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "numbers": dict(self.numbers),
            "results": [result.as_json() for result in self.results],
            "converged": self.converged,
        }


@dataclass(frozen=True, slots=True)
class SiteResult:
    """What an apply did at one site, before anything was waited for. `lost` says of hosts why nothing will come of
    them; `answers` that the node can be asked."""

    number: int
    results: tuple[Result, ...] = ()
    answers: bool = False
    again: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)
