"""One node for all attacks, and a well-behaved agent whose batches must go through."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.nodes import Writer, file_of
from tests.secured import (
    HOST,
    SecuredNode,
    secured_node,
)


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNode]:
    with secured_node(tmp_path_factory.mktemp("site")) as node:
        yield node


@pytest.fixture(scope="package")
def good(node: SecuredNode) -> Iterator[Writer]:
    """A well-behaved agent, and its node as it sees it."""
    seen = SecuredNode(node.site)
    seen.port, seen.who = node.port, node.certify(HOST)
    writer = Writer(seen, f"g/{HOST}/source", host=HOST)
    seen.who, certified = None, seen.who
    writer.protect()
    seen.who = certified
    yield writer


@pytest.fixture
def still_good(good: Writer) -> Iterator[None]:
    """After each attack a batch goes through, sooner than any patience of the node ends."""
    yield
    began = time.monotonic()
    assert not good.send(file_of(b"the service is unharmed"))["duplicate"]
    assert time.monotonic() - began < 9
