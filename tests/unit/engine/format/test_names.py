"""Names: what is built reads back, and sorts as it should; what is no name of ours is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.format import names
from engine.model.ids import Position

NODES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
NUMBERS = st.integers(1, 2**31)


@given(NODES, NUMBERS, NUMBERS, st.binary(max_size=50))
def test_segments_read_back(node: str, boot: int, seq: int, content: bytes) -> None:
    found = names.parse_segment(names.l0_key(node, boot, seq, content), 7)
    assert found is not None
    assert (found.level, found.generation, found.size) == (0, 0, 7)
    assert (found.node, found.boot, found.seq_first, found.seq_last) == (node, boot, seq, seq)
    assert found.hash == names.content_hash(content) == names.hash_in(found.key)
    merged = names.parse_segment(names.l1_key(node, boot, seq, seq + 9, 3, content))
    assert merged is not None
    assert (merged.level, merged.generation, merged.seq_first, merged.seq_last) == (1, 3, seq, seq + 9)
    assert names.parse_pack(names.pack_key(node, boot, seq)) == (node, boot, seq)


@given(NUMBERS, NUMBERS)
def test_keys_sort_as_their_numbers_do(one: int, two: int) -> None:
    assert (names.pack_key("n", 1, one) < names.pack_key("n", 1, two)) == (one < two)
    assert (names.pack_key("n", one, 1) < names.pack_key("n", two, 1)) == (one < two)


def test_checkpoints_read_back() -> None:
    key = names.checkpoint_key("00ff", Position(2, 77), 1, b"content")
    found = names.parse_checkpoint(key)
    assert found is not None
    assert (found.stream, found.position, found.generation) == ("00ff", Position(2, 77), 1)


@pytest.mark.parametrize(
    "key",
    [
        "L0/n.00000001/000000000000." + "0" * 32 + ".parquet",  # commits count from 1
        "L0/n.00000001/000000000001.parquet",
        "L0/n.00000001/000000000001." + "0" * 31 + ".parquet",
        "L0/n.1/000000000001." + "0" * 32 + ".parquet",
        "L1/n.00000001/000000000005-000000000001.1." + "0" * 32 + ".parquet",
        "packs/n.00000001/000000000001",
    ],
)
def test_other_keys_are_no_segments(key: str) -> None:
    assert names.parse_segment(key) is None


@pytest.mark.parametrize("node", ["", "A", "a.b", "a/b", "-a", "a" * 64])
def test_nodes_that_can_not_be_in_a_name_are_refused(node: str) -> None:
    with pytest.raises(ValueError):
        names.run_name(node, 1)


def test_a_group_called_site_is_not_the_site() -> None:
    assert names.data_key_key(names.group_scope("site"), 1) != names.data_key_key(names.SITE, 1)
