from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.tree.compare import Difference, compare, digest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners")

FIRST = b"dir/hard link"
"""An inode with two names is compared under the first; the other one is `plain`."""


@pytest.fixture
def twin(sample: Path, tmp_path: Path) -> Path:
    """A second tree equal to `sample`, made by cp(1)."""
    subprocess.run(["cp", "-a", "--sparse=auto", sample, tmp_path / "twin"], check=True)
    return tmp_path / "twin"


def differences(left: Path, right: Path, **options: bool) -> list[tuple[bytes, str]]:
    found = compare(os.fsencode(left), os.fsencode(right), **options)  # type: ignore[arg-type]
    assert [f.path for f in compare(os.fsencode(right), os.fsencode(left), **options)] == [f.path for f in found]  # type: ignore[arg-type]
    return [(difference.path, difference.what) for difference in found]


def keep_times(path: Path, change: Callable[[], object]) -> None:
    """Make a change to `path` that leaves its own and its parent's mtime as they were."""
    stamps = {p: os.lstat(p).st_mtime_ns for p in (path, path.parent)}
    change()
    for p, stamp in stamps.items():
        if os.path.lexists(p):
            os.utime(p, ns=(stamp, stamp), follow_symlinks=False)


def test_equal_trees_have_no_difference_and_one_digest(sample: Path, twin: Path) -> None:
    assert differences(sample, twin) == []
    assert digest(os.fsencode(sample)) == digest(os.fsencode(twin))
    assert len(digest(os.fsencode(sample))) == 32


def rewrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(2)
        file.write(b"L")


def relink(path: Path) -> None:
    path.unlink()
    os.link(path.parent / "socket", path)


def replace_by_copy(path: Path) -> None:
    shutil.copy2(path, path.parent / "copy")
    os.rename(path.parent / "copy", path)


CHANGES: list[tuple[str, Callable[[Path], object], list[tuple[bytes, str]]]] = [
    ("plain", rewrite, [(FIRST, "content")]),
    ("dir/deeper", lambda p: p.rmdir(), [(b"dir/deeper", "name")]),
    ("new", lambda p: p.touch(), [(b"new", "name")]),
    ("plain", lambda p: p.chmod(0o600), [(FIRST, "mode")]),
    ("plain", lambda p: os.setxattr(p, b"user.note", b"other"), [(FIRST, "xattr user.note")]),
    ("plain", lambda p: os.removexattr(p, b"user.note"), [(FIRST, "xattr user.note")]),
    ("sparse", lambda p: os.removexattr(p, b"system.posix_acl_access"), [(b"sparse", "xattr system.posix_acl_access")]),
    ("sparse", lambda p: os.truncate(p, (3 << 20) + 1), [(b"sparse", "size")]),
    ("dangling", lambda p: (p.unlink(), p.symlink_to("there")), [(b"dangling", "target")]),
    ("fifo", lambda p: (p.unlink(), p.touch()), [(b"fifo", "type")]),
    ("dir/hard link", replace_by_copy, [(b"plain", "link")]),
]


@pytest.mark.parametrize(("name", "change", "expected"), CHANGES, ids=[f"{c[0]}-{c[2][0][1]}" for c in CHANGES])
def test_each_kind_of_change_is_found_by_both(
    sample: Path, twin: Path, name: str, change: Callable[[Path], object], expected: list[tuple[bytes, str]]
) -> None:
    if not os.path.lexists(twin / name):
        stamp = os.lstat(twin).st_mtime_ns
        change(twin / name)
        os.utime(twin, ns=(stamp, stamp))
    else:
        keep_times(twin / name, lambda: change(twin / name))
    assert differences(sample, twin) == expected
    assert digest(os.fsencode(sample)) != digest(os.fsencode(twin))


def test_times_count_unless_left_out(sample: Path, twin: Path) -> None:
    stamp = os.lstat(twin / "soft").st_mtime_ns + 1
    os.utime(twin / "soft", ns=(stamp, stamp), follow_symlinks=False)
    assert differences(sample, twin) == [(b"soft", "mtime")]
    assert differences(sample, twin, times=False) == []
    assert digest(os.fsencode(sample), times=False) == digest(os.fsencode(twin), times=False)
    assert digest(os.fsencode(sample)) != digest(os.fsencode(twin))


@needs_root
def test_owners_count_unless_left_out(sample: Path, twin: Path) -> None:
    os.chown(twin / "fifo", 5, 6)
    assert differences(sample, twin) == [(b"fifo", "owner")]
    assert differences(sample, twin, owners=False) == []


def test_holes_count_when_asked(sample: Path, twin: Path) -> None:
    def fill() -> None:
        with open(twin / "sparse", "r+b") as file:
            file.write(bytes(1 << 20))

    keep_times(twin / "sparse", fill)
    assert differences(sample, twin) == []
    assert differences(sample, twin, holes=True) == [(b"sparse", "holes")]


def test_a_difference_names_the_first_byte_and_prints_on_one_line(sample: Path, twin: Path) -> None:
    keep_times(twin / "plain", lambda: rewrite(twin / "plain"))
    (found,) = compare(os.fsencode(sample), os.fsencode(twin))
    assert found == Difference(FIRST, "content", "byte 2: 6c", "byte 2: 4c")
    assert str(found) == "dir/hard link: content: 'byte 2: 6c' != 'byte 2: 4c'"
    assert str(Difference(b"a\n\xff", "name", "f", None)) == "a\\n\\xff: name: 'f' != None"


@pytest.mark.parametrize("at", [1 << 20, (1 << 20) + 4999])
def test_a_change_behind_the_first_block_is_found(sample: Path, twin: Path, at: int) -> None:
    def change() -> None:
        with open(twin / "sparse", "r+b") as file:
            file.seek(at)
            file.write(b"y")

    keep_times(twin / "sparse", change)
    (found,) = compare(os.fsencode(sample), os.fsencode(twin))
    assert (found.what, found.left) == ("content", f"byte {at}: 78")


def test_left_out_paths_are_not_compared(sample: Path, twin: Path) -> None:
    keep_times(twin / "dir", lambda: (twin / "dir" / "new").touch())
    exclude = [b"dir/new"].__contains__
    assert compare(os.fsencode(sample), os.fsencode(twin), exclude=exclude) == []


def test_what_cannot_be_read_is_never_equal(open_dir: Path, unprivileged: Callable[[Callable[[], str]], str]) -> None:
    for side in ("a", "b"):
        (open_dir / side / "closed").mkdir(parents=True)
        (open_dir / side / "closed").chmod(0o700)
        (open_dir / side / "secret").touch(mode=0o600)

    def attempt() -> str:
        left, right = os.fsencode(open_dir / "a"), os.fsencode(open_dir / "b")
        try:
            digest(left)
        except PermissionError:
            return str([(f.path, f.what) for f in compare(left, right, times=False)])
        return "digest said nothing"

    assert unprivileged(attempt) == str([(b"closed", "unreadable"), (b"secret", "unreadable")])


def test_a_root_that_is_missing_is_a_difference(sample: Path, tmp_path: Path) -> None:
    found = compare(os.fsencode(sample), os.fsencode(tmp_path / "none"))
    assert Difference(b".", "unreadable", None, "No such file or directory") in found
    assert compare(os.fsencode(tmp_path / "none"), os.fsencode(tmp_path / "none")) != []


def test_single_files_compare_as_trees_of_one(sample: Path) -> None:
    assert differences(sample / "plain", sample / "dir" / "hard link") == []
    assert [what for _, what in differences(sample / "plain", sample / "dir")] != []
