"""What the first look at a host leads to: a Python, or a refusal that says what to do. The look itself runs here."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.deploy.platforms import this_platform
from engine.deploy.runner import PLAYBOOKS
from engine.env.clock import SYSTEM
from engine.identity.authority import issue_to_node, make_authority
from engine.model.errors import Failed

HERE = this_platform().machine


def load() -> ModuleType:
    path = PLAYBOOKS / "action_plugins" / "bcs_preflight.py"
    spec = importlib.util.spec_from_file_location("bcs_preflight", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


preflight = load()


def look(*words: str) -> dict[str, Any]:
    said = subprocess.run(["sh", "-c", preflight.SCRIPT, "sh", *words], capture_output=True, text=True, check=True)
    return dict(preflight.parsed(said.stdout))


def test_the_look_finds_what_is_there(tmp_path: Path) -> None:
    root, home = tmp_path / "versions", tmp_path / "not made yet"
    for version in ("v1", "v2"):
        (root / version).mkdir(parents=True)
    (root / "v2" / "python").write_text("3.11 /usr/bin/python3")
    (root / "current").symlink_to("v2")
    lacking = tmp_path / "python3.12"
    lacking.write_text('#!/bin/sh\ncase "$2" in *ssl*) exit 1;; *) echo 3.12;; esac\n')
    lacking.chmod(0o755)
    found = look(str(root), "root", str(home), "bcs-none", "python3.99", str(lacking), "python3")
    assert found["versions"] == {"v1": "", "v2": "3.11 /usr/bin/python3"}
    assert (found["current"], found["machine"], found["account"]) == ("v2", HERE, "1")
    assert found["lacking"] == [f"3.12 {lacking}"]
    assert len(found["pythons"]) == 1 and found["pythons"][0][1].endswith("python3")
    assert "unit" not in found and "certificate" not in found
    free, device = found["home_free"].split(" ", 1)
    assert float(free) > 0 and device == found["root_free"].split(" ", 1)[1]


@pytest.mark.parametrize(
    ("pythons", "machine", "chosen"),
    [
        ([("3.13", "/usr/bin/python3.13"), ("3.11", "/usr/bin/python3.11")], "aarch64", "3.13"),
        ([("3.14", "/usr/bin/python3"), ("3.12", "/opt/python3.12")], "x86_64", "3.12"),
    ],
)
def test_the_first_python_that_there_are_bundles_for(pythons: list[Any], machine: str, chosen: str) -> None:
    assert preflight.choose_python("h", {"pythons": pythons, "lacking": [], "machine": machine}, "")[0] == chosen


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({}, "no Python from 3.11 to 3.13: it has no Python at all"),
        ({"pythons": [("3.9", "/usr/bin/python3")]}, "it has Python 3.9 at /usr/bin/python3"),
        ({"lacking": ["3.11 /usr/bin/python3"]}, "Python 3.11 at /usr/bin/python3 without one of ssl"),
        ({"pythons": [("3.12", "/usr/bin/python3")], "machine": "riscv64"}, "is a riscv64: there are bundles for x86"),
    ],
)
def test_no_python_is_said_with_what_there_is(found: dict[str, Any], says: str) -> None:
    with pytest.raises(Failed, match=says) as caught:
        preflight.choose_python("h", {"pythons": [], "lacking": [], "machine": "x86_64", **found}, "")
    assert caught.value.hint


def test_space_is_asked_of_each_file_system() -> None:
    wanted = {"root": "/opt/x", "home": "/var/lib/x"}
    enough = {"root_free": "5e+07 /dev/a", "home_free": "3e+07 /dev/b"}
    preflight.require_space("h", enough, 40_000_000, wanted)
    with pytest.raises(Failed, match="50 MB free at /opt/x; 60 MB"):
        preflight.require_space("h", enough, 60_000_000, wanted)
    with pytest.raises(Failed, match="3 MB free at /var/lib/x"):
        preflight.require_space("h", {**enough, "home_free": "3000000 /dev/b"}, 1, wanted)
    with pytest.raises(Failed, match="50 MB free at /opt/x; 57 MB"):  # both on one
        preflight.require_space("h", {**enough, "home_free": "5e+07 /dev/a"}, 40_000_000, wanted)


def test_a_certificate_holds_until_it_ends_and_for_its_own_site_only() -> None:
    authority, _ = make_authority("sf", SYSTEM.now())
    other, _ = make_authority("sf", SYSTEM.now())
    lasting, _ = issue_to_node(authority, "sf", "n1", [], 3600, SYSTEM.now())
    ended, _ = issue_to_node(authority, "sf", "n1", [], 3600, SYSTEM.now() - 7200 * 1_000_000)
    shown = {name: base64.b64encode(each.pem.encode()).decode() for name, each in [("is", lasting), ("was", ended)]}
    assert preflight.holds(shown["is"], authority.pem)
    assert not preflight.holds(shown["was"], authority.pem)
    assert not preflight.holds(shown["is"], other.pem)
    assert not preflight.holds(shown["is"], "")
    assert not preflight.holds(base64.b64encode(b"cut o").decode(), authority.pem)


def test_rights_are_asked_for_only_where_services_are() -> None:
    user = {"uid": "1000", "user": "ann", "systemd": "1"}
    preflight.require_rights("h", user, {"privileged": False})
    with pytest.raises(Failed, match="ann is not root on h") as caught:
        preflight.require_rights("h", user, {"privileged": True})
    assert "sudo without a password" in caught.value.hint
    with pytest.raises(Failed, match="not run by systemd"):
        preflight.require_rights("h", {"uid": "0", "user": "root"}, {"privileged": True})
