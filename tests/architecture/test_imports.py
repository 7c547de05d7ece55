"""Imports run one way; the contracts are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_run_one_way() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    argv = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_reading_policies_starts_no_heavy_library() -> None:
    """`--help` and `validate` must answer at once: what takes long to import waits for the command that needs it."""
    code = (
        "import sys, bcsctl.app, engine.reconcile.resolve;"
        "print(*({'duckdb', 'pyarrow', 'ansible_runner', 'starlette', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
