"""What Tab offers: names of this machine's site, as bash asks for them; silence where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bcsctl.completing import joined
from engine.recovery import unfinished
from engine.recovery.unfinished import Begun
from tests.cli.conftest import ADDRESS, PlainSite

GROUP, HOST, _ = ADDRESS.split("/")


def offered(home: Path, *words: str) -> list[str]:
    """The words that bash is given for a command line, the last of which is not complete."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BCS")}
    env |= {"_BCSCTL_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("bcsctl", *words))}
    env |= {"COMP_CWORD": str(len(words)), "BCS_HOME": str(home)}
    done = subprocess.run([sys.executable, "-m", "bcsctl"], env=env, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("status", GROUP[:1]), GROUP),
        (("drill", ""), GROUP),
        (("restore", f"{GROUP}/"), f"{GROUP}/{HOST}"),
        (("restore", f"{GROUP}/"), ADDRESS),
        (("ls", f"{GROUP}/"), ADDRESS),
        (("search", "--source", ""), ADDRESS),
        (("restore", "prom"), "promote"),
        (("report", ""), "recovery-audit"),
        (("restore", ADDRESS, "--at", "mark"), "mark:"),
    ],
)
def test_names_are_offered(site: PlainSite, words: tuple[str, ...], wanted: str) -> None:
    assert wanted in offered(site.home, *words)


def test_marks_and_ids_are_offered(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    mark = {"id": "1", "stream": "s", "address": ADDRESS, "label": "before-upgrade"}
    (tmp_path / "node" / "marks.json").write_text(json.dumps([mark]))
    unfinished.note(tmp_path, Begun("7aa41111", str(tmp_path / "there"), {"scope": ADDRESS}, 1))
    assert offered(tmp_path, "ls", ADDRESS, "--at", "mark", ":", "bef") == ["before-upgrade"]
    assert offered(tmp_path, "ls", ADDRESS, "--at", "mark", ":") == ["before-upgrade"]
    assert offered(tmp_path, "restore", "discard", "7a") == ["7aa41111"]


def test_nothing_is_said_where_there_is_nothing(tmp_path: Path) -> None:
    for words in (("status", ""), ("restore", "discard", ""), ("recover", "pause", ""), ("ls", ""), ("lss", "x")):
        assert offered(tmp_path / "none", *words) == []
    (tmp_path / "journal").write_text("no journal")
    assert offered(tmp_path, "status", "") == []


def test_words_that_bash_broke_are_whole_again() -> None:
    assert joined(["--at", "mark", ":", "a"]) == ["--at", "mark:a"]
    assert joined(["ls", "g/h/s", ":", "/srv", ""]) == ["ls", "g/h/s:/srv", ""]
