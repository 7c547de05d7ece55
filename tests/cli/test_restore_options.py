"""Options of `bcsctl restore`: one that would do nothing is refused; what is protected here is not doubled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ADDRESS, PlainSite, Run

IGNORED = [
    (("--in-place", "--on-demand"), "--on-demand"),
    (("--in-place", "--on-demand", "--dry-run"), "--on-demand"),
    (("--in-place", "--overwrite"), "--overwrite"),
    (("--in-place", "--check", "true"), "--check"),
    (("--in-place", "--into-protected"), "--into-protected"),
    (("--to", "scratch", "--on-demand"), "--on-demand"),
    (("--to", "scratch", "--overwrite"), "--overwrite"),
    (("--to", "scratch", "--may-write"), "--check"),
    (("--to", "scratch", "--check-timeout", "5s"), "--check"),
    (("--to", "-", "--on-demand"), "--on-demand"),
    (("--to", "-", "--verify"), "--verify"),
    (("--to", "-", "--aside"), "--aside"),
    (("--to", "DIR", "--rate", "1MiB"), "--on-demand"),
    (("--to", "DIR", "--mechanism", "fuse"), "--on-demand"),
    (("--to", "DIR", "--on-demand", "--verify"), "--verify"),
    (("--to", "DIR", "--on-demand", "--owners", "none"), "--owners"),
    (("--to", "DIR", "--exact"), "--exact is not for"),
    (("--to", "DIR", "--check", "true"), "--check"),
    (("--to", "DIR", "--check-timeout", "5s"), "--check-timeout"),
    (("--to", "DIR", "--scratch", "."), "--scratch"),
    (("--to", "DIR", "--partial"), "--partial"),
    (("--to", "DIR", "--in-place"), "exclude each other"),
    (("--to", "h:/x", "--exact"), "--exact"),
    (("--to", "h:/x", "--check", "true"), "--check"),
    (("--to", "h:scratch", "--overwrite"), "--overwrite"),
    (("--to", "h:scratch", "--check", "true"), "no command is run on a host"),
    (("--to", "h:scratch", "--may-write"), "no command is run on a host"),
    ((), "not said where"),
    (("--exact",), "not said where"),
]


@pytest.mark.parametrize(("options", "named"), IGNORED, ids=[" ".join(options) for options, _ in IGNORED])
def test_no_option_is_ignored(run: Run, site: PlainSite, tmp_path: Path, options: tuple[str, ...], named: str) -> None:
    done = run("restore", ADDRESS, *options, home=site.home, cwd=tmp_path)
    assert done.code == 2 and named in done.err, done.err
    assert not (tmp_path / "DIR").exists() and not (site.home / "scratch").exists()


@pytest.fixture
def protecting(site: PlainSite, tmp_path: Path) -> tuple[Path, Path]:
    """A home whose policy protects a directory of this machine too; that directory."""
    from engine.journal import control
    from engine.journal.open import open_local
    from engine.model.ids import Address, stream_id
    from tests.cli.conftest import applied_policy

    home, live = tmp_path / "protecting", tmp_path / "live"
    site.copy(home)
    (live / "left-out").mkdir(parents=True)
    journal = open_local(home / "journal", b"\x5a" * 32)
    policy = applied_policy(stream_id(Address(*ADDRESS.split("/"))), site.third)
    own = policy["sources"][ADDRESS]
    more = {**own, "stream": "0" * 20, "address": "docs/localhost/live", "paths": [str(live)], "exclude": ["left-out"]}
    policy["sources"]["docs/localhost/live"] = more
    control.follow(journal.store, control.POLICIES, 1, policy)
    return home, live


def test_into_what_is_protected_is_refused(run: Run, protecting: tuple[Path, Path], tmp_path: Path) -> None:
    home, live = protecting
    (live / "there").write_text("there")
    link = tmp_path / "link"
    link.symlink_to(live)
    for more in (
        ("--to", live / "sub"),
        ("--to", f"localhost:{live}/sub"),
        ("--to", link / "sub"),
        ("--to", live, "--overwrite"),
        ("--to", live / "sub", "--dry-run"),
        ("--to", live / "sub", "--on-demand"),
    ):
        refused = run("restore", ADDRESS, *more, home=home)
        assert refused.code == 4 and "docs/localhost/live" in refused.err, (more, refused.err)
    assert sorted(path.name for path in live.iterdir()) == ["left-out", "there"]
    assert run("restore", ADDRESS, "--to", live / "left-out" / "x", home=home).code == 0
    assert run("restore", ADDRESS, "--to", tmp_path / "beside", home=home).code == 0
    assert run("restore", ADDRESS, "--to", live / "sub", "--into-protected", home=home).code == 0
    assert (live / "sub" / "renamed.txt").read_text() == "two!"
    acts = recorded(home)
    mine = [act for act in acts if act["details"]["target"] == str(live / "sub")]
    assert [(act["what"], act["details"]["into_protected"]) for act in mine] == [
        ("restoring", True), ("restore", True)
    ]  # fmt: skip
    assert len(acts) > len(mine) and not any("into_protected" in act["details"] for act in acts if act not in mine)


def recorded(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "audit" / "pending.jsonl").read_text().splitlines()]


def test_a_promotion_into_what_is_protected_is_refused(run: Run, protecting: tuple[Path, Path]) -> None:
    home, live = protecting
    id = run("restore", ADDRESS, "--to", "scratch", "--json", home=home).json["scratch"]["id"]
    refused = run("restore", "promote", id, "--to", live / "sub", home=home)
    assert refused.code == 4 and "docs/localhost/live" in refused.err
    assert run("restore", "promote", id, "--to", live / "sub", "--into-protected", home=home).code == 0
    assert (live / "sub" / "renamed.txt").read_text() == "two!"
    into = [act["what"] for act in recorded(home) if act["details"].get("into_protected")]
    assert into == ["promoting"], "a restore to scratch lands in nothing that is protected"
