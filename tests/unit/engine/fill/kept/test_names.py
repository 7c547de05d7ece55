"""The list of names that capture begins with comes back as it was written, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.fill.kept import names
from engine.fill.kept.names import Name
from engine.model.errors import Damaged

_numbers, _bytes = some.integers(0, 2**32 - 1), some.binary(max_size=50)
_names = some.builds(
    Name,
    *(_bytes, some.integers(0, 2**63), some.sampled_from("fdlpscb"), _numbers, _numbers, _numbers),
    *(some.integers(0, 2**62), some.integers(-(2**62), 2**62), some.integers(0, 2**63), _bytes, _bytes),
)


@given(some.lists(_names, max_size=20))
def test_names_come_back(tmp_path_factory: pytest.TempPathFactory, given_names: list[Name]) -> None:
    path = tmp_path_factory.getbasetemp() / "names"
    names.write(path, given_names)
    assert list(names.read(path)) == given_names


def test_what_is_cut_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "names"
    names.write(path, [Name(b"/a", 5, "f", 0o644, 0, 0, 10, 1, 0, b"", b"x" * 30)])
    whole = path.read_bytes()
    for end in (3, 20, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(Damaged):
            list(names.read(path))
