"""Rows: names made, moved, exchanged and taken away; links."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.fidelity import calls
from tests.fidelity.rows import WEAKER, Place, row

ODD = [
    *(b"caf\xe9 not utf-8", b"\xff\xfe", b"line\nbreak", b"tab\t", b"-rf", b" ", b"*?[a]", b"back\\slash", b"..."),
    *(b"n" * 255, b"\xc3\xa9" * 127, "ﬁ e\u0301".encode(), b"quote'\"", b"\x01\x7f", b"#12345", b"a.tmp~", b"%2F"),
]

TOO_DEEP = (
    "No path longer than PATH_MAX is opened: `bcsctl status` names what lies below it as unreadable, a restore says "
    "what it left out because the target's own path is longer, and all else is kept"
)
NO_WORD = (
    "Missed until the file is looked at again: only a mark on the whole file system tells of links made elsewhere, and "
    "the mechanism's costs in `bcsctl status` say so"
)


def _raw(path: Path, name: bytes) -> bytes:
    return os.fsencode(path) + b"/" + name


@row("Names", "names of 255 bytes, not UTF-8, with newlines and other oddities")
def odd_names(at: Place) -> Iterator[None]:
    for name in ODD[::2]:
        Path(os.fsdecode(_raw(at.here, name))).write_bytes(name)
    yield
    for name in ODD[::2]:
        Path(os.fsdecode(_raw(at.here, name))).write_bytes(b"changed " + name)
    for name in ODD[1::2]:
        os.mkdir(_raw(at.here, name))
        Path(os.fsdecode(_raw(at.here, name + b"/" + name))).write_bytes(name)


@row("Names", "rename")
def rename(at: Place) -> Iterator[None]:
    at.file("file")
    at.directory("one", "inside")
    at.directory("two")
    yield
    (at.here / "file").rename(at.here / "renamed")
    (at.here / "one" / "inside").rename(at.here / "two" / "inside")
    (at.here / "one").rename(at.here / "two" / "one")


@row("Names", "rename over another file")
def rename_over(at: Place) -> Iterator[None]:
    at.file("file")
    yield
    at.file("file.new", b"after").rename(at.here / "file")


@row("Names", "rename over an empty directory")
def rename_over_directory(at: Place) -> Iterator[None]:
    at.directory("old")
    at.directory("new", "inside")
    yield
    (at.here / "new").rename(at.here / "old")


@row("Names", "names handed on in a circle")
def circle(at: Place) -> Iterator[None]:
    for name in "abc":
        at.file(name, name.encode() * 1000)
    yield
    for old, new in ("a", "held"), ("b", "a"), ("c", "b"), ("held", "c"):
        (at.here / old).rename(at.here / new)


@row("Names", "RENAME_EXCHANGE of two files")
def exchange(at: Place) -> Iterator[None]:
    one, two = at.file("one", b"1" * 10_000), at.file("two", b"2" * 20_000)
    yield
    calls.renameat2(one, two, calls.RENAME_EXCHANGE)


@row("Names", "RENAME_EXCHANGE of a file and a directory")
def exchange_kinds(at: Place) -> Iterator[None]:
    one, two = at.file("one"), at.directory("two", "inside")
    yield
    calls.renameat2(one, two, calls.RENAME_EXCHANGE)


@row("Names", "RENAME_EXCHANGE of two directories, one below a third")
def exchange_directories(at: Place) -> Iterator[None]:
    at.directory("three")
    one, two = at.directory("one", "a", "b"), at.directory("three/two", "c")
    yield
    calls.renameat2(one, two, calls.RENAME_EXCHANGE)
    (at.here / "one" / "new").write_bytes(b"after")


@row("Names", "RENAME_NOREPLACE")
def no_replace(at: Place) -> Iterator[None]:
    file = at.file("file")
    yield
    calls.renameat2(file, at.here / "renamed", calls.RENAME_NOREPLACE)


@row("Names", "RENAME_WHITEOUT", impossible={"overlayfs": "it keeps whiteouts for itself"})
def whiteout(at: Place) -> Iterator[None]:
    file = at.file("file")
    yield
    calls.renameat2(file, at.here / "renamed", calls.RENAME_WHITEOUT)


@row("Names", "a directory of 10,000 files renamed", large=True)
def ten_thousand(at: Place) -> Iterator[None]:
    at.directory("ten thousand", *(f"{number:05}" for number in range(10_000)))
    at.directory("elsewhere")
    yield
    (at.here / "ten thousand").rename(at.here / "elsewhere" / "ten thousand moved")


@row("Names", "a directory of 5,000 entries, made and half removed", large=True)
def five_thousand(at: Place) -> Iterator[None]:
    at.directory("old", *(f"{number}" for number in range(2500)))
    yield
    for number in range(0, 2500, 2):
        (at.here / "old" / str(number)).unlink()
    at.directory("new", *(f"{number}" for number in range(2500)))


@row("Names", "a deep tree")
def deep(at: Place) -> Iterator[None]:
    path = at.here.joinpath(*["deep"] * 100)
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"before")
    yield
    (path / "file").write_bytes(b"after")
    path.joinpath(*["deeper"] * 100).mkdir(parents=True)
    path.joinpath(*["deeper"] * 100, "new").write_bytes(b"deep down")


@row("Names", "a path of more than 4,096 bytes", loses={"name": TOO_DEEP})
def too_deep(at: Place) -> Iterator[None]:
    at.file("file")
    yield
    here = os.open(at.here, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@row("Names", "file and directory replaced by each other")
def replaced(at: Place) -> Iterator[None]:
    file, directory = at.file("file"), at.directory("directory", "inside")
    yield
    file.unlink()
    at.directory("file", "inside")
    shutil.rmtree(directory)
    at.file("directory")


@row("Names", "a file replaced by a symbolic link, a link by a fifo, a fifo by a file")
def replaced_kinds(at: Place) -> Iterator[None]:
    file, link, fifo = at.file("file"), at.here / "link", at.here / "fifo"
    link.symlink_to("file")
    os.mkfifo(fifo)
    yield
    for each in file, link, fifo:
        each.unlink()
    file.symlink_to("elsewhere")
    os.mkfifo(link)
    fifo.write_bytes(b"a file now")


@row("Names", "a tree removed and made anew under the same names")
def made_anew(at: Place) -> Iterator[None]:
    at.directory("tree", "a", "b")
    at.directory("tree/below", "c")
    yield
    shutil.rmtree(at.here / "tree")
    at.directory("tree", "a", "d")
    at.directory("tree/below", "c", "e")


@row("Names", "400 files in a race of mkdir -p")
def race(at: Place) -> Iterator[None]:
    at.file("file")
    yield

    def make(worker: int) -> None:
        for number in range(100):
            path = at.here / f"a{number % 10}" / f"b{worker}" / f"c{number}"
            path.mkdir(parents=True)
            (path / "file").write_bytes(b"%d %d" % (worker, number))

    threads = [threading.Thread(target=make, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@row("Names", "out of the source and into it")
def out_and_in(at: Place) -> Iterator[None]:
    going, leaving = at.file("going"), at.directory("leaving", "a", "b")
    (at.outside / "coming").write_bytes(b"from outside")
    (at.outside / "arriving" / "below").mkdir(parents=True)
    (at.outside / "arriving" / "below" / "file").write_bytes(b"from outside")
    yield
    going.rename(at.outside / "gone")
    leaving.rename(at.outside / "left")
    (at.outside / "coming").rename(at.here / "come")
    (at.outside / "arriving").rename(at.here / "arrived")
    (at.here / "arrived" / "below" / "file").write_bytes(b"and changed")


@row("Names", "out of the source, changed there, and back")
def out_and_back(at: Place) -> Iterator[None]:
    file, directory = at.file("file"), at.directory("directory", "a")
    yield
    file.rename(at.outside / "out")
    directory.rename(at.outside / "out of here")
    (at.outside / "out").write_bytes(b"changed outside")
    (at.outside / "out of here" / "a").write_bytes(b"changed outside")
    (at.outside / "out").rename(file)
    (at.outside / "out of here").rename(directory)


@row("Names", "into an exclude and out of it")
def excludes(at: Place) -> Iterator[None]:
    file = at.file("file")
    at.directory("excluded", "never kept")
    yield
    file.rename(at.here / "file.excluded")
    (at.here / "excluded" / "never kept").rename(at.here / "kept now")


@row("Links", "symbolic links: relative, dangling, long, not UTF-8")
def symlinks(at: Place) -> Iterator[None]:
    os.symlink("elsewhere", at.here / "changed")
    yield
    os.symlink("new", at.here / "changed.new")
    (at.here / "changed.new").rename(at.here / "changed")
    os.symlink("../up/and/away", at.here / "relative")
    os.symlink(b"no\xffwhere\n", os.fsencode(at.here / "dangling"))
    os.symlink("l" * 1000, at.here / "long")
    os.symlink(".", at.here / "itself")


@row("Links", "hard links made")
def links_made(at: Place) -> Iterator[None]:
    file = at.file("file", b"x" * 10_000)
    at.directory("elsewhere")
    yield
    for name in ("second", "elsewhere/third"):
        os.link(file, at.here / name)


@row("Links", "hard links removed and broken")
def links_broken(at: Place) -> Iterator[None]:
    file = at.file("file", b"x" * 10_000)
    for name in "abc":
        os.link(file, at.here / name)
    yield
    (at.here / "a").unlink()
    at.file("b.new", b"a copy of its own").rename(at.here / "b")
    file.unlink()


@row("Links", "written to, and its mode changed, through another link")
def links_written(at: Place) -> Iterator[None]:
    file = at.file("file", b"x" * 10_000)
    at.directory("elsewhere")
    os.link(file, at.here / "elsewhere" / "second")
    yield
    (at.here / "elsewhere" / "second").write_bytes(b"through the other")
    (at.here / "elsewhere" / "second").chmod(0o604)


@row("Links", "written to through a link outside of the source")
def links_outside(at: Place) -> Iterator[None]:
    os.link(at.file("file", b"x" * 10_000), at.outside / "link")
    yield
    (at.outside / "link").write_bytes(b"from outside")


@row("Links", "a link outside, made only now, and written to", unseen=dict.fromkeys(WEAKER, NO_WORD))
def links_outside_new(at: Place) -> Iterator[None]:
    file = at.file("file", b"x" * 10_000)
    yield
    os.link(file, at.outside / "link")
    (at.outside / "link").write_bytes(b"from outside")


@row("Links", "a hundred links of a file")
def hundred_links(at: Place) -> Iterator[None]:
    file = at.file("file", b"x" * 10_000)
    yield
    for number in range(100):
        os.link(file, at.here / f"link {number}")
    file.write_bytes(b"changed")


@row("Links", "a hard link of a symbolic link and of a fifo")
def odd_links(at: Place) -> Iterator[None]:
    os.symlink("elsewhere", at.here / "symlink")
    os.mkfifo(at.here / "fifo")
    yield
    for name in ("symlink", "fifo"):
        os.link(at.here / name, at.here / f"{name} again", follow_symlinks=False)
