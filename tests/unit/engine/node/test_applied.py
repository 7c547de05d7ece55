"""Policies that a node would choke on later are refused when they come."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.errors import UsageError
from engine.node.applied import check_sites


@pytest.mark.parametrize(
    "agent",
    [{"bandwidth": "much"}, {"bandwidth": [{"days": ["someday"], "limit": "1MiB/s"}]}, {"bandwidth": 5}, ["x"], "text"],
)
def test_what_agents_can_not_be_told_is_refused(agent: Any) -> None:
    with pytest.raises(UsageError, match="Site/sf says of agents makes no sense"):
        check_sites({"Site/sf": {"spec": {"agent": agent}}})


def test_other_documents_are_let_be() -> None:
    documents = {"Site/sf": {"spec": {"agent": {"spoolLimit": "1GiB"}}}, "ProtectionGroup/a": {"spec": {"agent": 5}}}
    assert check_sites(documents) == documents
