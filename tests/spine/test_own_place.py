"""A restore to where files came from is no new history of them: that may be, anywhere else in a source may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded import Site

ADDRESS = "demo/localhost/files"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for name in ("one.txt", "two.txt", "sub/three.txt"):
        (source / name).write_text(name)
    with Site(tmp_path / "home").start() as made:
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        made.json("mark", "demo", "--label", "good")
        yield made


def test_files_come_back_to_where_they_were(site: Site) -> None:
    source = site.home.parent / "source"
    asked = ("--at", "mark:good", "--overwrite")
    for path, target in (
        ("", source),
        (f":{source}/one.txt", source),
        (f":{source}/*.txt", source),
        (f":{source}/sub", source),
        (f":{source}/sub/three.txt", source / "sub"),
    ):
        (source / "one.txt").write_text("spoilt")
        (source / "sub" / "three.txt").write_text("spoilt")
        site.run("restore", ADDRESS + path, *asked, "--to", str(target))
    assert (source / "one.txt").read_text() == "spoilt" and (
        source / "sub" / "three.txt"
    ).read_text() == "sub/three.txt"


def test_elsewhere_in_the_source_is_refused(site: Site) -> None:
    source = site.home.parent / "source"
    asked = ("--at", "mark:good", "--overwrite")
    for path, target in (
        ("", source / "inner"),
        ("", source / "sub"),
        (f":{source}/one.txt", source / "sub"),
        (f":{source}/sub/*.txt", source),
        (f":{source}/sub", source / "sub"),
    ):
        done = site.run("restore", ADDRESS + path, *asked, "--to", str(target), check=False)
        assert done.returncode == 4 and ADDRESS in done.stderr.decode(), (path, target)
    assert sorted(path.name for path in source.rglob("*")) == ["one.txt", "sub", "three.txt", "two.txt"]
    made = site.json("restore", ADDRESS, "--at", "mark:good", "--to", "scratch")["scratch"]["id"]
    refused = site.run("restore", "promote", made, "--to", str(source / "sub"), "--aside", check=False)
    assert refused.returncode == 4 and ADDRESS in refused.stderr.decode()
    site.run("restore", "promote", made, "--aside")
    assert (source / "one.txt").read_text() == "one.txt"
