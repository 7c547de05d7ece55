"""Where a file's holes are left out of an archive, and the map that says so."""

from __future__ import annotations

import dataclasses
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.extents import Piece
from engine.recovery.tar_holes import Holes, holes_of


def piece(offset: int, length: int) -> Piece:
    made = object.__new__(Piece)
    fields = {field.name for field in dataclasses.fields(Piece)}
    assert {"offset", "length"} <= fields
    object.__setattr__(made, "offset", offset)
    object.__setattr__(made, "length", length)
    return made


def test_regions_are_whole_blocks_and_do_not_touch() -> None:
    found = holes_of([piece(1000, 10), piece(1530, 10), piece(100_000, 600), piece(999_990, 10)], 1_000_000)
    assert found is not None
    assert found.regions == ((512, 1536), (99_840, 1024), (999_936, 64))
    assert found.map.startswith(b"3\n512\n1536\n99840\n1024\n999936\n64\n\0") and len(found.map) == 512


def test_a_file_that_ends_with_a_hole_says_where() -> None:
    found = holes_of([piece(0, 512)], 1 << 40)
    assert found is not None and found.map.startswith(b"2\n0\n512\n1099511627776\n0\n\0")
    nothing = holes_of([], 4096)
    assert nothing is not None and nothing.map.startswith(b"1\n4096\n0\n\0")


@pytest.mark.parametrize("pieces", [[piece(0, 4096)], [piece(0, 1000), piece(1000, 3096)], [piece(0, 4000)]])
def test_where_nothing_is_saved_there_is_no_map(pieces: list[Piece]) -> None:
    assert holes_of(pieces, 4096) is None
    assert holes_of([], 512) is None and holes_of([], 0) is None


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), max_size=20), st.integers(0, 5000))
def test_python_reads_what_is_meant(steps: list[tuple[int, int]], rest: int) -> None:
    pieces, at = [], 0
    for hole, length in steps:
        pieces.append(piece(at + hole, length))
        at += hole + length
    size = at + rest
    content = bytearray(size)
    for each in pieces:
        content[each.offset : each.offset + each.length] = b"x" * each.length
    found = holes_of(pieces, size)
    if found is None:
        return
    assert all(offset % 512 == 0 for offset, _ in found.regions)
    assert all(length % 512 == 0 or offset + length == size for offset, length in found.regions)
    assert read_by_python(found, bytes(content)) == bytes(content)


def read_by_python(holes: Holes, content: bytes) -> bytes:
    kept = holes.map + b"".join(content[offset : offset + length] for offset, length in holes.regions)
    assert len(kept) == holes.kept_bytes
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("placeholder")
        entry.size = len(kept)
        entry.pax_headers = {key: value.decode() for key, value in holes.records(b"name").items()}
        archive.addfile(entry, io.BytesIO(kept))
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        file = archive.extractfile("name")
        assert file is not None
        return file.read()
