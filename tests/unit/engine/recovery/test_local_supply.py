"""The supply from a local journal: bytes as they were, holes left out, damage told, bytes that moved found again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from engine.fill.base import ColdFile, Place
from engine.model.errors import Damaged
from engine.model.events import DataRef
from engine.model.extents import Piece
from engine.query.extents import PIECES
from engine.recovery.on_demand import lookup as lookups
from engine.recovery.on_demand import supply as supplies
from engine.recovery.on_demand.index import packed
from engine.recovery.on_demand.supply import LocalSupply

FILE = ColdFile(0, 7, 1, 1, 100, 0, 0, b"file")


class Reader:
    """Stands for the reader of packs: a pack of that name is there, or is damaged."""

    def __init__(self, there: set[str]) -> None:
        self.there = there

    def read(self, piece: Piece, stream: str) -> memoryview:
        assert piece.data is not None
        if piece.data.pack not in self.there:
            raise Damaged(f"pack {piece.data.pack} is missing")
        return memoryview(bytes([piece.offset]) * piece.length)


def table_of(pieces: list[Piece]) -> pa.Table:
    """The pieces of the file, as they are asked of the journal."""
    rows = [
        (FILE.file_id, one.offset, one.length, one.data.pack, 0, 1, 0, one.skip, one.extent_length, one.hash)
        for one in pieces
        if one.data is not None
    ]
    return pa.Table.from_pylist([dict(zip(PIECES.names, row, strict=True)) for row in rows], schema=PIECES)


def piece(offset: int, length: int, pack: str) -> Piece:
    return Piece(offset, length, DataRef(pack, 0, 1, 0), 0, length, b"h" * 16)


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    place = Place(tmp_path)
    place.supply.mkdir()
    recipe = SimpleNamespace(stream="s", position="1.2", supply={"journal": "", "master_key": ""})
    made = LocalSupply(place, recipe, in_background=False)  # type: ignore[arg-type]
    made._lookup._reader = Reader({"one", "two"})  # type: ignore[assignment]
    asked: list[list[Piece]] = [[piece(10, 20, "one"), piece(40, 10, "two")]]
    monkeypatch.setattr(made._lookup, "_asked", lambda: SimpleNamespace(refresh=lambda: None))
    monkeypatch.setattr("engine.query.extents.layers", lambda *_: table_of(asked[0]))
    monkeypatch.setattr(lookups.threading, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
    return SimpleNamespace(read=made.read, now=asked, supply=made)


def test_what_is_data_comes_and_holes_do_not(supply: Any) -> None:
    found = supply.read(FILE, 0, 100)
    assert [(offset, bytes(data)) for offset, data in found] == [(10, b"\n" * 20), (40, b"(" * 10)]
    assert [(offset, len(data)) for offset, data in supply.read(FILE, 15, 28)] == [(15, 15), (40, 3)]
    assert supply.read(FILE, 30, 10) == []


def test_damage_is_told(supply: Any) -> None:
    supply.supply._lookup._reader.there = {"one"}
    assert supply.read(FILE, 0, 40)
    with pytest.raises(Damaged):
        supply.read(FILE, 0, 100)


def test_bytes_that_were_merged_into_another_pack_are_found(supply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert supply.read(FILE, 0, 100)
    reader = Reader({"three"})
    monkeypatch.setattr(supply.supply._lookup, "reader", lambda: reader)
    supply.now[0] = [piece(10, 20, "three"), piece(40, 10, "three")]
    assert [offset for offset, _ in supply.read(FILE, 0, 100)] == [10, 40]


def test_a_journal_that_is_away_is_waited_for(supply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(supply.supply._lookup, "reader", away)
    with pytest.raises(supplies.Away):
        supply.read(FILE, 0, 100)


def test_the_first_files_are_asked_for_alone_and_others_wait_for_the_index(
    supply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def layers(session: Any, stream: str, position: Any, ids: list[int]) -> pa.Table:
        asked.extend(ids)
        return table_of(supply.now[0]).set_column(0, "file_id", pa.array(ids * 2, pa.uint64()))

    monkeypatch.setattr("engine.query.extents.layers", layers)
    lookup = supply.supply._lookup
    lookup._indexed.clear()
    for file_id in range(1, lookups.ALONE_MAX + 1):
        assert len(lookup.pieces(file_id, 0, 100)) == 2
    everything = table_of(supply.now[0]).set_column(0, "file_id", pa.array([90, 90], pa.uint64()))

    def made(seconds: float) -> None:
        lookup._all = lookups.Index(packed(everything))

    monkeypatch.setattr(lookup._indexed, "wait", made)
    assert len(lookup.pieces(90, 0, 100)) == 2
    assert asked == list(range(1, lookups.ALONE_MAX + 1))


def test_nobody_waits_for_the_index_for_long(supply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "ALONE_MAX", 0)
    lookup = supply.supply._lookup
    lookup._indexed.clear()
    lookup._patience_seconds = 0.01
    assert len(lookup.pieces(FILE.file_id, 0, 100)) == 2
    assert lookup._patience_seconds <= 0
