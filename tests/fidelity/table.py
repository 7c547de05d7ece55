"""All rows, in the order of the docs."""

from __future__ import annotations

from tests.fidelity import rows_attributes, rows_content, rows_names, rows_places  # noqa: F401  they add themselves
from tests.fidelity.rows import ROWS, THEMES, Row

TABLE: tuple[Row, ...] = tuple(sorted(ROWS, key=lambda each: THEMES.index(each.theme)))
