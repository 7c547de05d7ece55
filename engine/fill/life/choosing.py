"""Which mechanism fills a tree: the better one of those that work here, or the one that was asked for."""

from __future__ import annotations

import importlib
import os
from typing import cast

from engine.fill.base import MODULES, MechanismModule
from engine.model.errors import Refused


def choose(directory: bytes, wanted: str | None = None) -> str:
    """The name of a mechanism for trees in an existing directory. Refused, with the reasons, when there is none."""
    reasons = {}
    for name in MODULES if wanted is None else (wanted,):
        why = why_not(name, directory)
        if not why:
            return name
        reasons[name] = why
    text = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    raise Refused(
        f"no recovery on demand in {os.fsdecode(directory)}: {text}",
        hint="restore without --on-demand, or choose another directory or mechanism",
        details={"mechanisms": reasons},
    )


def why_not(name: str, directory: bytes) -> str:
    try:
        module = cast(MechanismModule, importlib.import_module(MODULES[name]))
    except ModuleNotFoundError:
        return "this release does not have it"
    return module.why_not(directory)
