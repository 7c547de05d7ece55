"""Bundles: what a host needs to run an agent or a node, in one archive.

An archive holds the sources of those parts of this program that run there, and the files of their dependencies, below
`lib/`: installed ones for this machine's own Python, those of wheels for others. The same content always gives the
same bytes and the same version, so that a changed source is deployed and an unchanged one is not. A version is the
program's, `+`, and 12 digits of its sources and of the versions of its dependencies: the same on every platform.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import importlib.metadata
import io
import os
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.deploy import packages, wheels
from engine.deploy.packages import Entry
from engine.deploy.platforms import Platform, this_platform
from engine.env import durable

AGENT, NODE = "agent", "node"
AGENT_PARTS = ("agent", "drivers", "env", "fill", "fuse", "identity", "model", "plan", "tree", "wire")
NODE_PARTS = ("bcsctl", "engine", "reports")
KEPT = 8  # bundles of a kind in the cache; older ones can be made again

_ROOT = Path(engine.__file__).parents[1]
_SOURCES = {
    AGENT: ("engine/__init__.py", *(f"engine/{part}" for part in AGENT_PARTS)),
    NODE: NODE_PARTS,
}
_DEPENDENCIES = {AGENT: packages.AGENT, NODE: packages.NODE}
_COMPRESSION = 1  # twice the speed of the usual 6, for a tenth more bytes
# The sizes of files on disk are rounded up to blocks, and each source has its compiled form beside it.
_ON_DISK_FACTOR = 1.3


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive (tar, gzip) on this machine."""

    version: str
    path: Path
    platform: Platform


def build(cache: Path, platform: Platform | None = None, *, kind: str = AGENT) -> Bundle:
    """Make the bundle of this program's agent or node below `cache`/bundles, or find it there.

    `cache`/wheels has, or gets, what other platforms need. Raises Failed when it can't be had, and when a dependency
    is not installed here.
    """
    wanted = platform or this_platform()
    directory = cache / "bundles"
    made = version(kind)
    path = directory / f"{kind}-{made}-{wanted.key}.tar.gz"
    durable.make_directories(directory)
    with _alone(directory / f".{kind}-{wanted.key}.lock"):
        if not path.exists():
            with durable.Growing(directory) as file:
                _write(file, [*_sources(kind), *_dependencies(kind, wanted, cache)])
                file.publish(path.name)
        os.utime(path)
        _forget_old(directory, kind)
    return Bundle(made, path, wanted)


def version(kind: str = AGENT) -> str:
    """The version that `build` would give, without making anything."""
    digest = hashlib.sha256()
    for entry in _sources(kind):
        data = entry.read()
        digest.update(f"{entry.name}\0{len(data)}\0".encode())
        digest.update(data)
    digest.update("\n".join(packages.versions(_DEPENDENCIES[kind])).encode())
    return f"{importlib.metadata.version('bcsctl')}+{digest.hexdigest()[:12]}"


def bytes_on_disk(bundle: Path) -> int:
    """About what it takes on a host, unpacked and compiled."""
    with bundle.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        (unpacked,) = struct.unpack("<I", file.read(4))  # RFC 1952: the input's size modulo 2**32
    return int(unpacked * _ON_DISK_FACTOR)


def files_below(directory: Path) -> Iterator[Path]:
    """All files of a part, in order, without what Python caches there (which may come and go meanwhile)."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(folder, name) for name in sorted(names))


def _sources(kind: str) -> Iterator[Entry]:
    """Our own modules and what lies beside them, named from the directory of packages."""
    for part in _SOURCES[kind]:
        path = _ROOT / part
        for each in [path] if path.is_file() else files_below(path):
            name = str(each.relative_to(_ROOT))
            if not packages.left_out(name):
                yield Entry(name, each.read_bytes)


def _dependencies(kind: str, platform: Platform, cache: Path) -> Iterator[Entry]:
    names = _DEPENDENCIES[kind]
    if kind == NODE:
        yield _own_metadata()
    if platform == this_platform():
        yield from packages.installed(names)
    else:
        yield from packages.of_wheels(wheels.fetch(cache / "wheels", names, platform))


def _own_metadata() -> Entry:
    """What `importlib.metadata` reads our version from, where nothing of ours is installed."""
    release = importlib.metadata.version("bcsctl")
    text = f"Metadata-Version: 2.1\nName: bcsctl\nVersion: {release}\n"
    return Entry(f"bcsctl-{release}.dist-info/METADATA", text.encode)


def _write(file: durable.Growing, entries: list[Entry]) -> None:
    """A tar of the files in order, with no trace of when, where or by whom it was made."""
    with (
        gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed,  # type: ignore[call-overload]
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in sorted(entries, key=lambda entry: entry.name):
            data = entry.read()
            member = tarfile.TarInfo(f"lib/{entry.name}")
            member.size, member.mode, member.mtime = len(data), 0o644, 0
            archive.addfile(member, io.BytesIO(data))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Of several who want the same bundle one makes it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(directory: Path, kind: str) -> None:
    newest_last = sorted(directory.glob(f"{kind}-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    for path in newest_last[:-KEPT]:
        path.unlink(missing_ok=True)
