"""The files of other people's packages that go into a bundle: as installed here, or out of wheels.

What is never loaded stays out: headers, tests, second backends, and the parts of Arrow that speak to services.
"""

from __future__ import annotations

import importlib.metadata
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.model.errors import Failed

AGENT = ("blake3", "cffi", "cryptography", "inotify-simple", "xxhash", "zstandard")
"""What an agent needs. cffi, for the one compiled module that cryptography loads."""
NODE = (
    "anyio", "attrs", "blake3", "cffi", "click", "cryptography", "duckdb", "h11", "idna", "inotify-simple", "jinja2",
    "jsonschema", "jsonschema-specifications", "markupsafe", "prometheus-client", "pyarrow", "pyyaml", "referencing",
    "rich", "rpds-py", "starlette", "typing-extensions", "uvicorn", "xxhash", "zstandard",
)  # fmt: skip
"""What a node needs, and the commands that it runs for others. Not Ansible, which stays with the controller."""

_LEFT_OUT_NAMES = frozenset({"INSTALLER", "RECORD", "REQUESTED", "WHEEL", "direct_url.json"})
_LEFT_OUT_SUFFIXES = frozenset({".pyc", ".pyi", ".pxi", ".pyx", ".pxd", ".h", ".hpp"})
_LEFT_OUT = re.compile(
    "|".join(
        (
            r"zstandard/(_cffi|backend_cffi)",  # CPython loads only the backend in C
            r"cffi/",  # for those who compile; cryptography loads _cffi_backend alone
            r"pyarrow/(include|tests|src|vendored/tests)/",
            # Shared libraries come under three names; programs ask for the middle one, as libarrow_python.so.2100.
            r"pyarrow/lib[a-z_]+\.so$",
            r"pyarrow/lib[a-z_]+\.so\.\d+\.\d",
            r"pyarrow/libarrow(_python)?_(flight|s3|parquet_encryption)\b",
            r"pyarrow/_(flight|s3fs|gcsfs|azurefs|hdfs|orc|dataset_orc|substrait|pyarrow_cpp_tests)\b",
            r"duckdb/experimental/",
            r"jsonschema/(tests|benchmarks)/",
        )
    )
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a bundle: its name below `lib/`, and how to read it."""

    name: str
    read: Callable[[], bytes]


def installed(names: Iterable[str]) -> Iterator[Entry]:
    """The files of packages as they are installed here. Failed when one is not."""
    for name in names:
        try:
            files = importlib.metadata.distribution(name).files
        except importlib.metadata.PackageNotFoundError:
            files = None
        if not files:
            raise Failed(f"a bundle needs {name}, which is not installed here", hint="run: make venv")
        for file in files:
            path = Path(str(file.locate()))
            if not left_out(str(file)) and path.is_file():
                yield Entry(str(file), path.read_bytes)


def of_wheels(directory: Path) -> Iterator[Entry]:
    """The files of all wheels in a directory."""
    for wheel in sorted(directory.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not left_out(name)]
        yield from (Entry(name, partial(_member, wheel, name)) for name in names)


def versions(names: Iterable[str]) -> list[str]:
    """["blake3==1.0.11", ...] as installed here; empty ones for what is not."""
    return [f"{name}=={_version(name)}" for name in names]


def left_out(name: str) -> bool:
    """Whether a file, named from the directory of packages, stays out of bundles."""
    path = Path(name)
    return (
        ".." in path.parts
        or ".data/" in name
        or path.name.startswith(".")
        or path.name in _LEFT_OUT_NAMES
        or path.suffix in _LEFT_OUT_SUFFIXES
        or _LEFT_OUT.match(name) is not None
    )


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
