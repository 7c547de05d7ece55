"""The agent's bundle: what a host needs to run an agent, in one archive, made from what runs here.

It holds the sources of those parts of `engine` that run on a host and the installed files of their few dependencies,
below `lib/`. The same content always gives the same bytes and the same version, so that a changed source is deployed
and an unchanged one is not. Bundles for other releases of Python or other machines are refused: their compiled files
are not here.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import os
import platform as machine_platform
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.env import durable
from engine.model.errors import Failed

PARTS = ("agent", "drivers", "env", "model", "tree", "wire")
DISTRIBUTIONS = ("blake3", "inotify-simple", "xxhash", "zstandard")
KEPT = 4  # bundles in the cache; older ones can be made again

_LEFT_OUT_NAMES = frozenset({"INSTALLER", "RECORD", "REQUESTED", "WHEEL", "direct_url.json"})
_LEFT_OUT_SUFFIXES = frozenset({".pyc", ".pyi"})
# zstandard carries two backends; CPython loads only the one in C.
_LEFT_OUT_BEGINNINGS = ("zstandard/_cffi", "zstandard/backend_cffi")


@dataclass(frozen=True, slots=True)
class Platform:
    """What compiled files depend on, as `Platform("3.11", "x86_64")`."""

    python: str
    machine: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive (tar, gzip) on this machine. `version` is the package's, then `+` and 12 digits of the content."""

    version: str
    path: Path
    platform: Platform


def this_platform() -> Platform:
    return Platform(f"{sys.version_info.major}.{sys.version_info.minor}", machine_platform.machine())


def build(cache: Path, platform: Platform | None = None) -> Bundle:
    """Make the bundle of this program's agent below `cache`, or find it there.

    Raises Failed for a platform other than this one, and when a dependency is not installed.
    """
    wanted = platform or this_platform()
    if wanted != this_platform():
        raise Failed(
            f"no agent for Python {wanted.python} on {wanted.machine}: this machine has only its own compiled files",
            hint=f"deploy to hosts with Python {this_platform().python} on {this_platform().machine}",
        )
    content = _content()
    version = _version(content)
    path = cache / f"agent-{version}-py{wanted.python}-{wanted.machine}.tar.gz"
    if not path.exists():
        durable.make_directories(cache)
        durable.replace(path, _archive(content))
    os.utime(path)
    _forget_old(cache)
    return Bundle(version, path, wanted)


def version() -> str:
    """The version that `build` would give, without making anything."""
    return _version(_content())


def _content() -> dict[str, bytes]:
    """{name in the archive: bytes}, in the archive's order."""
    return {name: path.read_bytes() for name, path in sorted((*_sources(), *_dependencies()))}


def _version(content: dict[str, bytes]) -> str:
    return f"{importlib.metadata.version('bcsctl')}+{_digest(content)[:12]}"


def _sources() -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of our own modules and what lies beside them."""
    root = Path(engine.__file__).parent
    yield "lib/engine/__init__.py", root / "__init__.py"
    for part in PARTS:
        for path in files_below(root / part):
            if not _left_out(path):
                yield f"lib/engine/{path.relative_to(root)}", path


def files_below(directory: Path) -> Iterator[Path]:
    """All files of a part, in order, without what Python caches there (which may come and go meanwhile)."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(folder, name) for name in sorted(names))


def _dependencies() -> Iterator[tuple[str, Path]]:
    for name in DISTRIBUTIONS:
        try:
            files = importlib.metadata.distribution(name).files
        except importlib.metadata.PackageNotFoundError:
            files = None
        if not files:
            raise Failed(f"the agent needs {name}, which is not installed here", hint="run: make venv")
        for file in files:
            if ".." in file.parts or str(file).startswith(_LEFT_OUT_BEGINNINGS):
                continue
            path = Path(str(file.locate()))
            if not _left_out(path) and path.is_file():
                yield f"lib/{file}", path


def _left_out(path: Path) -> bool:
    return path.suffix in _LEFT_OUT_SUFFIXES or path.name in _LEFT_OUT_NAMES or path.name.startswith(".")


def _digest(content: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in content.items():
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _archive(content: dict[str, bytes]) -> bytes:
    """A tar of the files in order, with no trace of when, where or by whom it was made."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o644, 0
            archive.addfile(member, io.BytesIO(data))
    return raw.getvalue()


def _forget_old(cache: Path) -> None:
    newest_last = sorted(cache.glob("agent-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    for path in newest_last[:-KEPT]:
        path.unlink(missing_ok=True)
