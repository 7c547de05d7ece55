"""--from and --to, the same in every command that takes them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bcsctl.app import cli
from bcsctl.options import period
from engine.model.errors import UsageError
from engine.model.times import SECOND, parse_time

NOW = parse_time("2026-11-22T10:00:00Z", 0)


def test_each_end_may_be_left_out() -> None:
    assert period(None, None, NOW) == (None, None)
    assert period("-5s", None, NOW) == (NOW - 5 * SECOND, None)
    assert period("-5s", "-5s", NOW) == (NOW - 5 * SECOND, NOW - 5 * SECOND)


def test_a_reversed_period_is_refused() -> None:
    with pytest.raises(UsageError, match="from -1m to -5m is empty"):
        period("-1m", "-5m", NOW)


@pytest.mark.parametrize("argv", [["points", "a/b/c"], ["search", "x"]])
def test_commands_say_so_before_they_look(argv: list[str]) -> None:
    result = CliRunner().invoke(cli, [*argv, "--from", "-1m", "--to", "-5m"], standalone_mode=False)
    assert isinstance(result.exception, UsageError)
