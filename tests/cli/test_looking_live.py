"""Looking before restoring, on a live site: against the disk, line by line, every version of a file, by content."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3

from tests.embedded import Site
from tests.sample_tree import make_sample

ADDRESS = "demo/localhost/files"


@dataclass(slots=True)
class Looked:
    """A protected tree, and the point at which it was as `make_sample` makes it, with two files more."""

    site: Site
    source: Path
    first: str


def await_it(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def settled(site: Site, source: Path) -> None:
    """Wait until the newest point is the tree as it is: as the disk's own time says of a file written last."""
    token = os.urandom(8).hex()
    (source / "token").write_text(token)
    path = f"{ADDRESS}:{source}/token"
    await_it(lambda: site.run("cat", path, check=False).stdout.decode() == token)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    base = tmp_path_factory.mktemp("looking")
    source = base / "source"
    source.mkdir()
    make_sample(source)
    (source / "notes").write_text("".join(f"line {number}\n" for number in range(100)))
    (source / "large").write_bytes(os.urandom(3 << 20))
    (source / "token").write_text("")
    with Site(base / "home").start() as site:
        site.protect(ADDRESS, source, exclude=["*.tmp"])
        site.wait_protected(ADDRESS)
        settled(site, source)
        first = site.json("points", ADDRESS)["points"][-1]["point"]
        yield Looked(site, source, f"point:{first}")


def changes(told: dict[str, object]) -> set[tuple[str, str]]:
    entries = told["entries"]
    assert isinstance(entries, list)
    return {(row["change"], os.path.basename(row["path"])) for row in entries}


def test_a_tree_that_is_as_it_was_does_not_differ_from_the_disk(looked: Looked) -> None:
    told = looked.site.json("diff", ADDRESS, "--at", "latest")
    assert (told["entries"], told["unreadable"]) == ([], []) and told["to"]["disk"] is True
    quick = looked.site.json("diff", f"{ADDRESS}:{looked.source}/dir", "--at", looked.first, "--quick")
    assert quick["entries"] == []


def test_what_differs_from_the_disk(looked: Looked, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    looked.site.run("restore", ADDRESS, "--at", looked.first, "--to", str(copy))
    against = ("diff", ADDRESS, "--at", looked.first, "--disk", str(copy))
    assert looked.site.json(*against)["entries"] == []

    stamp = (copy / "large").stat().st_mtime_ns
    with open(copy / "large", "r+b") as file:  # one byte, with the old time: only the content tells
        byte = os.pread(file.fileno(), 1, 2_000_000)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), 2_000_000)
    os.utime(copy / "large", ns=(stamp, stamp))
    (copy / "sparse").chmod(0o600)
    (copy / "added.tmp").write_text("excluded")
    (copy / "added").write_text("new")
    os.rename(copy / "notes", copy / "renamed")
    os.rename(copy / "read-only", copy / "writable")
    os.unlink(copy / "soft")
    os.symlink("elsewhere", copy / "soft")
    shutil.rmtree(copy / "dir" / "deeper")
    os.setxattr(copy / "plain", b"user.note", b"other")
    told = looked.site.json(*against)
    assert changes(told) == {
        ("changed", "large"), ("changed", "sparse"), ("added", "added"), ("renamed", "renamed"),
        ("renamed", "writable"), ("renamed", "inside"), ("changed", "soft"), ("removed", "deeper"),
        ("changed", "plain"), ("changed", "hard link"),
    }  # fmt: skip
    rows = {os.path.basename(row["path"]): row for row in told["entries"]}
    assert rows["large"]["content"] and not rows["large"]["attributes"]
    assert rows["sparse"]["attributes"] and not rows["sparse"]["content"]
    assert rows["renamed"]["old_path"] == f"{looked.source}/notes"
    assert rows["added"]["from"] is None and rows["added"]["to"]["size"] == 3
    quick = looked.site.json(*against, "--quick")
    assert changes(told) - changes(quick) == {("changed", "large")}
    shown = looked.site.run(*against).stdout.decode()
    assert f"> {looked.source}/notes -> {looked.source}/renamed" in shown and f"+ {looked.source}/added" in shown


def test_lines_that_differ(looked: Looked) -> None:
    path = looked.source / "notes"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:50], "another\n", *lines[51:]]).rstrip("\n"))
    try:
        at = looked.site.run("diff", f"{ADDRESS}:{path}", "--at", looked.first, "--content").stdout.decode()
        settled(looked.site, looked.source)
        two = looked.site.run("diff", f"{ADDRESS}:{path}", "--from", looked.first, "--content").stdout.decode()
        told = looked.site.json("diff", f"{ADDRESS}:{path}", "--from", looked.first, "--content")
    finally:
        path.write_text("".join(lines))
    for shown in (at, two):
        assert "\n-line 50\n+another\n" in shown and "-line 99\n" in shown and "+line 99\n\\ No newline" in shown
        assert shown.count("@@ -") == 2 and "line 10\n" not in shown
    assert told["text"] and told["differs"] and told["diff"].splitlines()[2:] == two.splitlines()[2:]
    binary = looked.site.json("diff", f"{ADDRESS}:{looked.source}/large", "--at", looked.first, "--content")
    assert (binary["text"], binary["differs"], binary["diff"]) == (False, False, None)


def test_ways_to_ask_that_make_no_sense(looked: Looked) -> None:
    for more in (
        [],
        ["--at", "latest", "--from", "-1h"],
        ["--from", "-1h", "--quick"],
        ["--at", "latest", "--content"],
    ):
        assert looked.site.run("diff", ADDRESS, *more, check=False).returncode == 2, more
    assert looked.site.run("diff", f"{ADDRESS}:/elsewhere", "--at", "latest", check=False).returncode == 2
    missing = f"{ADDRESS}:{looked.source}/no-such"
    assert looked.site.run("diff", missing, "--at", "latest", check=False).returncode == 5
    assert looked.site.run("diff", missing, "--at", "latest", "--content", check=False).returncode == 5
    assert looked.site.run("search", check=False).returncode == 2


def test_every_version_can_be_brought_back_by_the_command_beside_it(looked: Looked, tmp_path: Path) -> None:
    path, other = looked.source / "a name", looked.source / "another name"
    contents = [b"first", b"second one", b"the third"]
    for content in contents:
        path.write_bytes(content)
        settled(looked.site, looked.source)
    os.rename(path, other)
    settled(looked.site, looked.source)
    os.unlink(other)
    settled(looked.site, looked.source)
    rows = looked.site.json("log", f"{ADDRESS}:{other}")["entries"]
    assert [row["change"] for row in rows] == ["created", "changed", "changed", "renamed from", "removed"]
    assert [row["path"] for row in rows] == [str(path)] * 3 + [str(other)] * 2
    for number, row in enumerate(rows[:4]):
        command = shlex.split(row["restore"])
        assert command[:2] == ["bcsctl", "restore"] and row["uid"] == os.getuid()
        looked.site.run(*command[1:-1], str(tmp_path / str(number)))
        name = "a name" if number < 3 else "another name"
        assert (tmp_path / str(number) / name).read_bytes() == contents[min(number, 2)]
    assert rows[4]["restore"] is None
    assert "bcsctl restore" in looked.site.run("log", f"{ADDRESS}:{other}").stdout.decode()


def test_a_file_is_found_by_its_content_wherever_it_was(looked: Looked, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    mine = tmp_path / "mine"
    mine.write_bytes(content)
    lost = looked.source / "dir" / "lost"
    lost.write_bytes(content)
    settled(looked.site, looked.source)
    with open(lost, "r+b") as file:
        file.write(b"not what it was")
    settled(looked.site, looked.source)
    lost.unlink()
    settled(looked.site, looked.source)
    ways = (
        ["--like", str(mine)],
        ["--sha256", hashlib.sha256(content).hexdigest(), "--size", "300000"],
        ["--blake3", blake3(content).hexdigest().upper(), "lost"],
        ["--sha256", hashlib.sha256(content).hexdigest(), "--deleted"],
    )
    for way in ways:
        [hit] = looked.site.json("search", *way)["entries"]
        assert (hit["path"], hit["size"], hit["gone"]) == (str(lost), 300_000, True), way
        back = looked.site.run("cat", f"{ADDRESS}:{lost}", "--at", f"point:{hit['last']['point']}").stdout
        assert back == content
    mine.write_bytes(b"not what it was" + content[15:])
    [other] = looked.site.json("search", "--like", str(mine))["entries"]
    assert other["first"] != hit["first"]
    mine.write_bytes(content[:-1])
    assert looked.site.json("search", "--like", str(mine))["entries"] == []


def test_hashes_of_what_was_there(looked: Looked) -> None:
    told = looked.site.json("ls", ADDRESS, "--recursive", "--sha256", "--at", looked.first)
    rows = {os.path.basename(row["path"]): row for row in told["entries"]}
    assert rows["large"]["sha256"] == hashlib.sha256((looked.source / "large").read_bytes()).hexdigest()
    assert rows["sparse"]["sha256"] == hashlib.sha256((looked.source / "sparse").read_bytes()).hexdigest()
    assert rows["fifo"]["sha256"] is None and told["source"]["exclude"] == ["*.tmp"]
    assert told["directory"]["path"] == str(looked.source)
    assert rows["plain"]["xattrs"]["user.note"] and rows["large"]["xattrs"] == {}
