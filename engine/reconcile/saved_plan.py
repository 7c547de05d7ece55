"""A plan in a file: made and looked at now, applied later, or not at all when anything changed meanwhile.

The file holds the documents, the base, and what was shown; it is JSON, and readable.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.model.errors import Refused, UsageError
from engine.plan.reconcile import Plan
from engine.reconcile.load import Loaded, with_applied
from engine.reconcile.planning import Scope, inventories_of, plan_of
from engine.reconcile.provenance import Provenance

FORMAT = 2


def save_plan(file: Path, home: Path, plan: Plan, origin: Provenance) -> None:
    """Write the plan; a file that is there is replaced."""
    value = {
        "plan": FORMAT,
        "home": str(home),
        "partial": plan.partial,
        "origin": asdict(origin),
        "documents": plan.desired.as_json()["documents"],
        "inventories": inventories_of(plan.desired.sites),
        **plan.as_json(),
    }
    durable.replace(file, json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")


def read_plan(file: Path, home: Path, readmit: Collection[str] = ()) -> tuple[Plan, Provenance]:
    """The plan again, if it would still do exactly what was shown. Refused otherwise."""
    value = _read(file)
    if value.get("home") != str(home):
        raise Refused(f"{file} was made for {value.get('home')}, not {home}", hint="give that with --home")
    nothing = Loaded((), ())
    loaded = with_applied(nothing, value["documents"])
    scope = Scope(inventories=value.get("inventories", {}), readmit=readmit)
    plan = plan_of(home, loaded, scope, bases=value["bases"])
    if plan.as_json()["changes"] and _told(plan) != _shown(value):
        raise Refused(f"{file} would no longer do what it showed", hint="make a new plan and look at it")
    return plan, Provenance(**value["origin"])


def _told(plan: Plan) -> list[tuple[Any, ...]]:
    return _shown(plan.as_json())


def _shown(value: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What counts of a plan's changes: not the reasons, which name files, nor what only starts again."""
    rows = [(row["action"], row["kind"], row["name"]) for row in value["changes"]]
    return sorted(row for row in rows if row[1] not in ("Node", "Agent"))


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}", hint="`bcsctl plan --out FILE` makes one") from None
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("plan") != FORMAT:
        raise UsageError(f"{file} is no saved plan", hint="`bcsctl plan --out FILE` makes one")
    return value
