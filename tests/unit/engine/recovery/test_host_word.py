"""What a host says of a drill is taken as far as it makes sense, and no further."""

from __future__ import annotations

from typing import Any

import pytest

from engine.recovery.drill.host_word import counts_of, rows_of

ADDRESSES = ["g/a/one", "g/a/two"]


def test_rows_come_with_the_address_of_their_source() -> None:
    told = {"name": "command", "passed": False, "message": "it exited with 3", "seconds": 1.5, "source": 1}
    [row] = rows_of({"checks": [{**told, "command": "false", "output": "broken", "differs": False}]}, ADDRESSES)
    assert (row.name, row.passed, row.address, row.command, row.output) == (
        "command", False, "g/a/two", "false", "broken",
    )  # fmt: skip
    assert counts_of({"sources": [{"source": 0, "files": 3, "names": 5, "bytes": 7, "seconds": 0.5}]}) == {
        0: (3, 5, 7, 0.5)
    }


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"checks": None, "sources": "x"},
        {"checks": ["x", 1, None, {}, {"passed": "yes"}, {"name": "x"}, {"passed": 1.5}]},
        {"sources": [1, {"source": "0"}]},
    ],
)
def test_what_makes_no_sense_is_left_out(answer: dict[str, Any]) -> None:
    assert [row for row in rows_of(answer, ADDRESSES) if row.passed is not None] == [] and counts_of(answer) == {}


def test_numbers_and_texts_are_bounded() -> None:
    told = {"name": "x" * 1000, "passed": True, "message": "m" * 10_000, "seconds": -1, "source": 99}
    [row] = rows_of({"checks": [{**told, "output": "o" * 100_000}]}, ADDRESSES)
    assert (len(row.name), len(row.message), len(row.output), row.seconds, row.address) == (40, 500, 4096, 0.0, "")
    [of_source] = counts_of({"sources": [{"source": 0, "files": -1, "names": True, "bytes": 1 << 80}]}).values()
    assert of_source == (0, 0, 0, 0.0)
