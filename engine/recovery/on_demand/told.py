"""A recovery on demand as the audit keeps it."""

from __future__ import annotations

import os
from typing import Any

from engine.fill.base import Recipe
from engine.model.times import format_time
from engine.tree.paths import path_json

NAMED_MAX = 100


def act_of(recipe: Recipe) -> dict[str, Any]:
    """What was restored, where to and how: of its beginning, of its end, of whatever was asked meanwhile."""
    return {
        "address": recipe.address,
        "stream": recipe.stream,
        **path_json(os.fsencode(recipe.base)),
        "point": recipe.position,
        "at": format_time(recipe.point_at),
        "class": recipe.point_class,
        **path_json(os.fsencode(recipe.dir), "target"),
        "id": recipe.id,
        **({"order": recipe.order} if recipe.order else {}),
        "on_demand": recipe.mechanism,
        "files": recipe.files,
        "bytes": recipe.bytes,
    }
