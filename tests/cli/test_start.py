"""How the program starts: what it loads, how fast, what it says when it is called wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bcsctl.app import COMMANDS, cli

from .conftest import ROOT, Run

HEAVY = ("duckdb", "pyarrow", "rich", "ansible", "ansible_runner", "httpx", "uvicorn", "starlette", "jinja2")
VALID = ROOT / "policies" / "examples" / "quickstart"


def loaded(*arguments: str | Path) -> set[str]:
    """The top-level modules that a run of bcsctl has imported at its end."""
    program = (
        "import sys, json, atexit\n"
        "from bcsctl.app import main\n"
        "atexit.register(lambda: print('MODULES', json.dumps(sorted({m.split('.')[0] for m in sys.modules}))))\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES "))
    return set(json.loads(line.removeprefix("MODULES ")))


@pytest.mark.parametrize("arguments", [("--help",), ("validate", VALID), ("schema", "Site")])
def test_what_should_start_at_once_loads_nothing_heavy(arguments: tuple[str | Path, ...]) -> None:
    modules = loaded(*arguments)
    assert not modules.intersection(HEAVY)
    assert "click" in modules


def cpu_seconds_of(*arguments: str) -> float:
    """Of a start, its processor time: a busy machine makes it wait, too."""
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen([sys.executable, *arguments], stdout=nowhere, stderr=nowhere, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("arguments", [["--help"], ["validate", str(VALID)]])
def test_help_and_validate_start_within_a_few_bare_interpreters(arguments: list[str]) -> None:
    """300 ms are promised on a machine whose bare interpreter takes 20 ms. The cheapest of several starts of each."""
    bare, ours = [], []
    for _ in range(40):
        bare.append(cpu_seconds_of("-c", "pass"))
        ours.append(cpu_seconds_of("-m", "bcsctl", *arguments))
        if len(ours) >= 5 and min(ours) < 15 * min(bare):
            return
    pytest.fail(f"{min(ours)} s, and a bare interpreter {min(bare)} s")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_exit_codes(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.code == 0, done.err
    assert "Example:" in done.text
    assert f"bcsctl {name}" in done.text.split("Example:")[1]
    assert "Exit codes: 0 done" in " ".join(done.text.split())


def test_help_lists_every_command_and_exit_code(run: Run) -> None:
    text = run("--help").text
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "4 refused by a guard" in " ".join(text.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["statsu"],
        ["points"],
        ["points", "no-address"],
        ["ls", "a/b/c:relative/path"],
        ["restore", "a/b/c"],
        ["points", "a/b/c", "--from", "yesterday-ish"],
        ["validate", "--frobnicate"],
        ["apply", "--plan", "nowhere.plan", "some-path"],
    ],
)
def test_usage_errors_are_exit_2_and_an_object_under_json(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("error: ")
    as_json = run(*arguments, "--json")
    assert as_json.code == 2
    assert as_json.json["error"]["code"] == "usage"
    assert as_json.err == ""


def test_a_mistyped_command_gets_a_suggestion(run: Run) -> None:
    assert "did you mean 'status'?" in run("statsu").err


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"set -o pipefail; {sys.executable} -m bcsctl schema | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    # A process of its own: click keeps a command's help option as the first context had it, some test's for one.
    page = subprocess.run([sys.executable, "-m", "bcsctl.reference"], capture_output=True, check=True, cwd=ROOT).stdout
    assert page.decode() == written, "run: python -m bcsctl.reference > docs/reference/cli.md"


def test_commands_and_their_modules_are_the_same_set() -> None:
    folder = ROOT / "bcsctl" / "commands"
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == set(COMMANDS)
    assert list(cli.list_commands(None)) == list(COMMANDS)  # type: ignore[arg-type]
