"""The quick start's sample data: a small directory to change and bring back. Made once, never touched again.

Usage: python -m engine.reconcile.sample DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

NOTES = {
    "shopping.txt": "bread\ncoffee\napples\n",
    "ideas.md": "# Ideas\n\n- a report for every customer, once a month\n- ask Maria about the archive\n",
    "minutes.md": "# Monday\n\nPresent: all. Decided: keep every change for a week.\n",
}
YEARS = (2024, 2025, 2026)
INVOICES_A_YEAR = 60


def make_sample(directory: Path) -> bool:
    """Fill `directory`; False, and nothing done, when it exists."""
    if directory.exists():
        return False
    for name, text in NOTES.items():
        _write(directory / "notes" / name, text)
    for year in YEARS:
        for number in range(1, INVOICES_A_YEAR + 1):
            _write(directory / "invoices" / str(year) / f"{year}-{number:04}.csv", _invoice(year, number))
    _write(directory / "ledger.csv", "".join(_invoice(year, n) for year in YEARS for n in range(1, 1000)))
    (directory / "current").symlink_to(f"invoices/{YEARS[-1]}")
    (directory / "notes" / "todo.md").hardlink_to(directory / "notes" / "ideas.md")
    return True


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _invoice(year: int, number: int) -> str:
    rows = (f"{year}-{number:04},{line},{(number * 37 + line * 11) % 900 + 100}.00" for line in range(1, 21))
    return "invoice,line,amount\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    made = make_sample(Path(sys.argv[1]))
    print(f"sample data {'made' if made else 'is'} in {sys.argv[1]}", file=sys.stderr)
