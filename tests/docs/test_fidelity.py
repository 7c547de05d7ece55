"""The fidelity page says what the tests run."""

from __future__ import annotations

from tests.embedded import ROOT
from tests.fidelity.document import text


def test_the_page_is_in_step() -> None:
    page = (ROOT / "docs/fidelity.md").read_text()
    assert page == text(), "python -m tests.fidelity.document > docs/fidelity.md"
