"""Commands of drills: in namespaces of their own, bounded in time, with the end of what they write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.env import running_alone
from engine.env.processes import is_root
from engine.env.running_alone import OUTPUT_BYTES_KEPT, run
from tests.embedded import ROOT

HERE = {"PATH": os.environ["PATH"]}


def test_a_text_is_for_the_shell_and_words_are_not(tmp_path: Path) -> None:
    assert run("echo $((1 + 1)) > made; cat made", tmp_path, HERE, 30) == running_alone.Ran("", "2\n")
    assert run(["echo", "$((1 + 1)); ls"], tmp_path, HERE, 30).output == "$((1 + 1)); ls\n"


def test_its_environment_is_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the node")
    ran = run(["env"], tmp_path, {**HERE, "BCS_DRILL_ID": "1"}, 30)
    assert "BCS_DRILL_ID=1" in ran.output and "of the node" not in ran.output


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("exit 3", "it exited with 3"),
        ("kill -9 $$", "it exited with 137"),
        (["/no/such/program"], "it exited with 127"),
        ("sleep 60", "it took longer than 0.5 s"),
    ],
)
def test_why_one_fails(tmp_path: Path, asked: str | list[str], why: str) -> None:
    ran = run(asked, tmp_path, HERE, 0.5 if "longer" in why else 30)
    assert (ran.passed, ran.why) == (False, why)


def test_only_the_end_of_a_long_output_is_kept_and_nobody_waits_for_it(tmp_path: Path) -> None:
    ran = run("yes | head -c 5000000; echo; echo the end", tmp_path, HERE, 60)
    assert ran.passed and len(ran.output) == OUTPUT_BYTES_KEPT and ran.output.endswith("the end\n")


def test_what_it_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    ran = run("setsid sleep 9753 & setsid -f sleep 9753; true", tmp_path, HERE, 30)
    assert ran.passed
    assert subprocess.run(["pgrep", "-fx", "sleep 9753"], capture_output=True).stdout == b""


def test_where_no_namespace_can_be_made_nothing_is_run(tmp_path: Path) -> None:
    """Seen from inside a process that may make no more of them (user_namespaces(7), /proc/sys/user)."""
    code = (
        "import ctypes, sys\n"
        "from pathlib import Path\n"
        "from engine.env.running_alone import run\n"
        "ran = run(['touch', 'made'], Path(sys.argv[1]), {'PATH': '/usr/bin:/bin'}, 30)\n"
        "print(ran.why)\n"
    )
    if not is_root():
        pytest.skip("taking rights away is root's")
    inside = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(inside, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.startswith("no network namespace can be made here"), done.stdout + done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(not is_root(), reason="changing the user is root's")
def test_a_node_without_rights_uses_a_namespace_of_users(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from engine.env.running_alone import run\n"
        "ran = run('cat /proc/net/dev; id -u', Path('/'), {'PATH': '/usr/bin:/bin'}, 30)\n"
        "print(ran.why, ran.output)\n"
    )
    inside = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", code]
    done = subprocess.run(inside, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if "no network namespace" in done.stdout or done.returncode:
        pytest.skip(f"users may make none here: {done.stdout}{done.stderr[-200:]}")
    assert " lo:" in done.stdout and done.stdout.rstrip().endswith("65534")
    assert "eth" not in done.stdout
