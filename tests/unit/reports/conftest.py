"""The journal of the golden files, made once, and the files themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.reports.synthetic import Synthetic, fixed

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return fixed(tmp_path_factory.mktemp("journal"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file; with --update-golden, write it instead."""

    def compare(name: str, text: str) -> None:
        if request.config.getoption("--update-golden", default=False):
            (GOLDEN / name).write_text(text, "utf-8")
        assert text == (GOLDEN / name).read_text("utf-8")

    return compare
