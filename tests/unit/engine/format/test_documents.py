"""Documents: any changed bit, any cut, any other key shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.format import documents
from engine.model.errors import Damaged

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
FIELDS = st.dictionaries(st.text(max_size=5).filter(lambda name: name != "check"), VALUES, max_size=4)


@given(FIELDS)
def test_documents_read_back(fields: dict[str, object]) -> None:
    assert documents.decode("a/key", documents.encode("a/key", fields)) == fields


def test_every_flipped_bit_and_every_cut_shows() -> None:
    content = documents.encode("a/key", {"number": 3, "text": "é", "list": [1, None, True]})
    for at in range(len(content)):
        with pytest.raises(Damaged):
            documents.decode("a/key", content[:at])
        for bit in range(8):
            with pytest.raises(Damaged):
                documents.decode("a/key", content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])


def test_under_another_key_it_is_not_itself() -> None:
    with pytest.raises(Damaged, match="other/key"):
        documents.decode("other/key", documents.encode("a/key", {}))
