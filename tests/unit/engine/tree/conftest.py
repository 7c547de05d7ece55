"""Fixtures: a tree with one of everything that a file system can hold, and a child without privilege."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sample_tree import make_sample

NOBODY = 65534


def as_nobody(action: Callable[[], str]) -> str:
    """What `action` returns when run in a child process without any privilege; its failure fails the test."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writing, action().encode())
            status = 0
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, code = os.waitpid(child, 0)
    assert code == 0, said
    return said


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A directory filled by `make_sample`."""
    root = tmp_path / "sample"
    root.mkdir()
    make_sample(root)
    return root


@pytest.fixture
def unprivileged() -> Callable[[Callable[[], str]], str]:
    """The function `as_nobody`; skips the test where there is no privilege to give up."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become nobody")
    return as_nobody


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every user may write to; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="bcs-tree-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
