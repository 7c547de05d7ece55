"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 400
VAGUE_MODULES = {"utils", "util", "helpers", "helper", "common", "misc"}
VAGUE_CLASSES = re.compile(r"(Manager|Handler|Processor|Utils?|Helpers?)$")
CHECKOUT = re.compile(re.escape(str(ROOT)) + r"(?![\w-])")
REGISTRY = re.compile(
    r"(?i)\b(artifactory|nexus|pypi\.(?!org/project)[\w.-]+|[\w-]*(?:pkgs?|proxy|mirror)\.[\w-]+\.\w+)/"
)
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".sql", ".j2", ".sh", ".cfg", ""}
PACKAGES = ("bcsctl", "engine", "reports", "playbooks")


def tracked() -> list[Path]:
    """Files of the checkout: those git knows, or all without git."""
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    if listing.returncode == 0:
        return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


FILES = tracked()
SOURCES = [path for path in FILES if path.suffix == ".py"]
OWN = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at() -> None:
    assert len(OWN) > 50 and len(FILES) > len(SOURCES)


def test_no_module_has_two_jobs() -> None:
    long = {name(path): count for path in SOURCES if (count := len(path.read_text().splitlines())) > LINES_MAX}
    assert long == {}


def test_names_say_what_things_are() -> None:
    vague = [name(path) for path in OWN if {path.stem, path.parent.name} & VAGUE_MODULES]
    for path in OWN:
        classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        vague += [f"{name(path)}: {node.name}" for node in classes if VAGUE_CLASSES.search(node.name)]
    assert vague == []


def test_every_module_states_its_job() -> None:
    silent = [
        name(path) for path in OWN if (text := path.read_text()).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


@pytest.mark.parametrize("pattern", [CHECKOUT, REGISTRY], ids=["this checkout", "package registries"])
def test_no_trace_of_a_machine(pattern: re.Pattern[str]) -> None:
    found = []
    for path in FILES:
        if path.suffix in TEXT and path.name != Path(__file__).name:
            lines = path.read_text("utf-8", "replace").splitlines()
            found += [
                f"{name(path)}:{number}: {line.strip()[:100]}"
                for number, line in enumerate(lines, 1)
                if pattern.search(line)
            ]
    assert found == []
