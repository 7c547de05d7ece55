"""Reads policy files into documents, each valid by its schema. What refers to what is `resolve`'s.

Every YAML document in a given directory must be a policy; only directories called `inventory`
and hidden ones are passed over. Nothing here raises for what a file says: faults are values.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.model.policy.documents import API_VERSION, KINDS, Document, Fault
from engine.reconcile import load_yaml
from engine.reconcile.load_yaml import Node, Unreadable, shown
from engine.reconcile.schema import describe, nearest, problems

FILES_MAX = 10_000
_SKIPPED = "inventory"
Step = str | int


@dataclass(frozen=True, slots=True)
class Placed:
    """A document together with the places of its values; None for one that no file holds."""

    document: Document
    node: Node | None

    def fault(self, path: Sequence[Step], message: str, hint: str = "", *, at_key: bool = False) -> Fault:
        """A fault of this document at the value, or the key, that `path` leads to."""
        line, column = place(self.node, path, at_key=at_key) if self.node else (0, 0)
        return Fault(self.document.file, line, column, dotted(path), message, hint)


@dataclass(frozen=True, slots=True)
class Loaded:
    """`documents` are those without a fault of their own. `known` are the KIND/NAME of all, so that a
    reference to a faulty document isn't a second fault; not `complete` when some could not even be named."""

    documents: tuple[Placed, ...]
    errors: tuple[Fault, ...]
    files: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    complete: bool = True


def load(paths: Iterable[str | os.PathLike[str]]) -> Loaded:
    """The policies of files and directories (*.yml and *.yaml below them, in sorted order)."""
    faults: list[Fault] = []
    found: list[Placed] = []
    files: list[str] = []
    known: set[str] = set()
    named_faults = 0
    for file in _files(paths, faults):
        files.append(file)
        for node in _nodes(file, faults):
            placed, own = _document(node, file)
            faults.extend(own)
            if placed:
                named_faults += len(own)
                known.add(placed.document.key)
                if not own:
                    found.append(placed)
    complete = named_faults == len(faults)
    return Loaded(tuple(found), tuple(sorted(faults)), tuple(files), frozenset(known), complete)


def with_applied(loaded: Loaded, applied: Mapping[str, Mapping[str, Any]]) -> Loaded:
    """`loaded` and those documents of the last apply (by KIND/NAME) that it doesn't hold itself.

    For an apply of a part of a repository: what the part refers to is then known, and nothing is removed.
    A group that was renamed is not taken along under its old name.
    """
    renamed = {
        f"{placed.document.kind}/{old}"
        for placed in loaded.documents
        for old in former_names(placed.document.raw["metadata"])
    }
    rest = [
        Placed(Document(raw["kind"], raw["metadata"]["name"], raw), None)
        for key, raw in sorted(applied.items())
        if key not in loaded.known and key not in renamed
    ]
    known = loaded.known | {placed.document.key for placed in rest}
    return replace(loaded, documents=(*loaded.documents, *rest), known=known)


def former_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that `formerly` gives, oldest first."""
    names = metadata.get("formerly", ())
    return (names,) if isinstance(names, str) else tuple(names)


def place(node: Node, path: Sequence[Step], *, at_key: bool = False) -> tuple[int, int]:
    """Line and column of the value (or key) at `path`, or of the nearest thing on the way to it."""
    where = key = (node.line, node.column)
    for step in path:
        if isinstance(node.value, dict) and step in node.keys:
            key = node.keys[str(step)]
            # Two values for one key: the second is a fault already, and only the first has a node.
            node = node.value[str(step)]
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            key = (node.line, node.column)
        else:
            break
        where = (node.line, node.column)
    return key if at_key else where


def dotted(path: Sequence[Step]) -> str:
    """spec.sources[0].files."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step[:60]}" if text else step[:60]
    return text


def _files(paths: Iterable[str | os.PathLike[str]], faults: list[Fault]) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    count = 0
    for given in paths:
        text = os.fspath(given)
        try:
            is_directory = stat.S_ISDIR(Path(text).stat().st_mode)
            found = sorted(_walk(text, frozenset())) if is_directory else [text]
        except (OSError, ValueError) as error:
            faults.append(
                Fault(text, 0, 0, "", f"cannot be read: {_reason(error)}", "give policy files or directories")
            )
            continue
        if not found:
            faults.append(
                Fault(text, 0, 0, "", "the directory holds no policy file", "policy files end in .yaml or .yml")
            )
        for file in found:
            count += 1
            if count > FILES_MAX:
                faults.append(Fault(text, 0, 0, "", f"more than {FILES_MAX} policy files", "give fewer directories"))
                return
            if _first_time(file, seen):
                yield file


def _first_time(file: str, seen: set[tuple[int, int]]) -> bool:
    """Whether this file was not met before, under whatever name; one that can't be asked is new."""
    try:
        status = Path(file).stat()
    except OSError:
        return True
    key = (status.st_dev, status.st_ino)
    return key not in seen and not seen.add(key)  # type: ignore[func-returns-value]


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Policy files below a directory. Symbolic links are followed, but never to a directory above."""
    status = Path(folder).stat()
    me = (status.st_dev, status.st_ino)
    if me in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == _SKIPPED:
                continue
            if _is_directory(entry):
                yield from _walk(entry.path, above | {me})
            elif entry.name.endswith((".yaml", ".yml")):
                yield entry.path


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that leads in circles: reported when it is read
        return False


def _nodes(file: str, faults: list[Fault]) -> Iterator[Node]:
    count = 0
    try:
        for node in load_yaml.documents(load_yaml.decode(_read(file), file), file, faults):
            count += 1
            yield node
        if count == 0:
            raise Unreadable(Fault(file, 1, 1, "", "the file holds no document", "write a policy, or delete the file"))
    except Unreadable as stop:
        faults.append(stop.fault)


def _read(file: str) -> bytes:
    """At most one byte more than is allowed. Never waits for what isn't a regular file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(Fault(file, 0, 0, "", "is not a regular file", "give policy files or directories"))
            if status.st_size > load_yaml.BYTES_MAX:
                raise Unreadable(load_yaml.too_large(file, status.st_size))
            return stream.read(load_yaml.BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise Unreadable(Fault(file, 0, 0, "", f"cannot be read: {_reason(error)}")) from None


def _reason(error: Exception) -> str:
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)).lower()


def _document(node: Node, file: str) -> tuple[Placed | None, list[Fault]]:
    """One document and its own faults; no document when not even its kind and name can be told."""

    def fault(path: Sequence[Step], message: str, hint: str = "") -> list[Fault]:
        return [Fault(file, *place(node, path), dotted(path), message, hint)]

    if node.value is None:
        return None, fault((), "the document is empty", "remove the extra '---', or write a policy")
    if not isinstance(node.value, dict):
        return None, fault(
            (), f"a policy is a mapping, found {describe(node.plain())}", "begin with apiVersion and kind"
        )
    raw = node.plain()
    header = "for files that are no policies use a directory called inventory, or a hidden one"
    if "apiVersion" not in raw:
        return None, fault((), "'apiVersion' is missing", f"write apiVersion: {API_VERSION}; {header}")
    if raw["apiVersion"] != API_VERSION:
        given = shown(raw["apiVersion"])
        return None, fault(("apiVersion",), f"{given} is not a known apiVersion", f"write {API_VERSION}")
    kind = raw.get("kind")
    if "kind" not in raw:
        return None, fault((), "'kind' is missing", f"kinds are {', '.join(KINDS)}")
    if kind not in KINDS:
        hint = isinstance(kind, str) and nearest(kind, KINDS)
        return None, fault(("kind",), f"{shown(kind)} is not a kind", hint or f"kinds are {', '.join(KINDS)}")
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    placed = Placed(Document(kind, name if isinstance(name, str) else "", raw, file, node.line), node)
    own = [
        placed.fault(problem.path, problem.message, problem.hint, at_key=problem.at_key)
        for problem in problems(kind, raw)
    ]
    return placed, own
