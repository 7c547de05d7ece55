"""Looking into a remote site's history from a workstation that has files of its own to compare."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from .remote import FINANCE, Remote, remote_site

NO_END = "\\ No newline at end of file\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    with remote_site(tmp_path_factory.mktemp("remote")) as remote:
        yield remote


READS = [
    ["search", "--sha256", sha256(b"q4.ods").hexdigest(), "--size", "6"],
    ["ls", FINANCE, "--sha256"],
    ["diff", f"{FINANCE}:/srv/finance/q4.ods", "--from", "point:1.11", "--content"],
]


@pytest.mark.parametrize("argv", READS, ids=lambda argv: argv[0])
def test_what_is_in_files_is_told_as_on_the_node_to_who_may_read_it(site: Remote, argv: list[str]) -> None:
    here, there = site.run("olga", *argv, "--json"), site.on_node(*argv, "--json")
    assert (here.code, here.json) == (0, there.json)
    refused = site.run("vera", *argv, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "not-authorised"), refused.text


def test_the_callers_disk_is_compared_with_the_sites_history(site: Remote, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "q3.ods").write_text("q3.ods")
    (copy / "q4.ods").write_text("q4!ods")
    (copy / "q5.ods").write_text("new")
    against = ("diff", FINANCE, "--at", "latest", "--disk", str(copy))
    told = site.run("olga", *against, "--json").json
    rows = {os.path.basename(row["path"]): row for row in told["entries"]}
    assert not rows["q3.ods"]["content"] and rows["q4.ods"]["content"] and rows["q5.ods"]["change"] == "added"
    assert told["to"]["disk"] == str(copy)
    named = ("diff", f"{FINANCE}:/srv/finance/q4.ods", *against[2:], "--content")
    assert site.run("olga", *named).text.endswith("-q4.ods\n\\ No newline at end of file\n+q4!ods\n" + NO_END)
    assert site.run("vera", *against, "--quick", "--json").code == 0, "who may not read may look at names and sizes"
    for more in ((), ("--content",)):
        refused = site.run("vera", *(named if more else against), "--json")
        assert (refused.code, refused.json["error"]["code"]) == (4, "not-authorised")
    assert site.run("olga", "diff", FINANCE, "--at", "latest").code == 2, "this is not the source's host"


def test_a_file_here_is_looked_for_in_the_sites_history(site: Remote, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("q4.ods")
    [hit] = site.run("olga", "search", "--like", str(mine), "--json").json["entries"]
    assert hit["path"] == "/srv/finance/q4.ods"
