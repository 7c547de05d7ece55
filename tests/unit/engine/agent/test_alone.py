"""One agent a home: two would write the same record and spool."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.agent import __main__ as start
from engine.model.errors import Failed


def test_a_second_agent_is_refused_and_the_lock_ends_with_the_first(tmp_path: Path) -> None:
    first = start.held(tmp_path)
    with pytest.raises(Failed, match="another agent works in"):
        start.held(tmp_path)
    os.close(first)
    os.close(start.held(tmp_path))
