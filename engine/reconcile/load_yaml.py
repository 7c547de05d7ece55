"""YAML text as nodes that know their lines and columns. Bounded in every direction, and no tag is obeyed.

The nodes are built from the parser's events, so no constructor runs, whatever a file says. Plain
scalars mean what YAML 1.2's core schema says: `on` and `yes` are text, `true` is a truth value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.model.policy.documents import Fault

BYTES_MAX = 1 << 20
DEPTH_MAX = 32
NODES_MAX = 20_000
ALIASES_MAX = 100
SHOWN_MAX = 60

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ODD_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)


@dataclass(slots=True)
class Node:
    """One value. `value` is a scalar, a list of nodes, or {key: node}; `keys` places a mapping's keys."""

    line: int
    column: int
    value: Any
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    depth: int = 1
    pending_key: str | None = None
    anchor: str | None = None

    def plain(self) -> Any:
        """The value as Python has it: dict, list, str, int, float, bool, None."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class Unreadable(Exception):
    """The text can't be read any further; carries the fault that says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def shown(value: object) -> str:
    """A value as messages quote it: short, on one line, printable."""
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
    return "'" + "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text) + "'"


def decode(data: bytes, file: str) -> str:
    """The text of a file, or Unreadable: too large, not UTF-8, or with characters no policy has."""
    if len(data) > BYTES_MAX:
        raise Unreadable(too_large(file, len(data)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise Unreadable(Fault(file, *_place(before), "", message, "save the file as UTF-8")) from None
    odd = _UNPRINTABLE.search(text)
    if odd:
        code = ord(odd.group())
        message = "the file holds a NUL byte" if code == 0 else f"the file holds the control character U+{code:04X}"
        raise Unreadable(Fault(file, *_place(text[: odd.start()]), "", message, "remove it; policy files are text"))
    return text


def too_large(file: str, size: int) -> Fault:
    message = f"the file has {size} bytes; a policy file has at most {BYTES_MAX}"
    return Fault(file, 0, 0, "", message, "divide it, or keep other data elsewhere")


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def documents(text: str, file: str, faults: list[Fault]) -> Iterator[Node]:
    """The documents of a YAML text, one by one. Faults that leave the rest readable go to `faults`;
    one that doesn't is raised as Unreadable."""
    reader = _Reader(text, file, faults)
    for event in reader.events():
        if isinstance(event, yaml.DocumentEndEvent) and reader.root is not None:
            yield reader.root
            reader.begin()


class _Reader:
    """Builds the nodes of one file from its events, counting as it goes."""

    def __init__(self, text: str, file: str, faults: list[Fault]) -> None:
        self.text, self.file, self.faults = text, file, faults
        self.nodes = 0
        self.aliases = 0
        self.begin()

    def begin(self) -> None:
        self.root: Node | None = None
        self.stack: list[Node] = []
        self.anchors: dict[str, Node] = {}

    def events(self) -> Iterator[Any]:
        """Every event of the text, each after it has been taken in."""
        parser = getattr(yaml, "CParser", None) or yaml.Loader
        try:
            source = parser(self.text)
            while True:
                event = source.get_event()
                self.take(event)
                yield event
                if isinstance(event, yaml.StreamEndEvent):
                    return
        except yaml.MarkedYAMLError as error:
            raise Unreadable(self.syntax(error)) from None
        except yaml.YAMLError as error:
            raise Unreadable(Fault(self.file, 0, 0, "", f"not YAML: {shown(error)}")) from None

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self.add(Node(*_at(event), self.scalar(event)), event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            node = Node(*_at(event), {} if isinstance(event, yaml.MappingStartEvent) else [])
            self.refuse_tag(event)
            self.add(node, event)
            self.stack.append(node)
            if len(self.stack) > DEPTH_MAX:
                raise self.stop(event, f"values are nested deeper than {DEPTH_MAX} levels", "a policy needs far fewer")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node = self.stack.pop()
            if self.stack:
                self.grow(self.stack[-1], node, event)
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event)

    def alias(self, event: Any) -> None:
        self.aliases += 1
        name = event.anchor
        target = self.anchors.get(name)
        if self.aliases > ALIASES_MAX:
            raise self.stop(event, f"more than {ALIASES_MAX} aliases in one file", "write the values out")
        if target is None:
            raise self.stop(
                event, f"alias *{name} has no anchor before it", f"write &{name} at the value it stands for"
            )
        if any(node is target for node in self.stack):
            raise self.stop(event, f"alias *{name} stands for a value that it is part of", "write the value out")
        self.add(target, event)
        self.grow(self.stack[-1], target, event)

    def add(self, node: Node, event: Any) -> None:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise self.stop(event, f"more than {NODES_MAX} values in one file", "divide the file")
        if not isinstance(event, yaml.AliasEvent) and event.anchor:
            self.anchors[event.anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif parent.pending_key is None:
            parent.pending_key = self.key(parent, node, event)
        else:
            parent.value.setdefault(parent.pending_key, node)
            parent.pending_key = None
        if isinstance(event, yaml.ScalarEvent):
            parent.size += 1

    def grow(self, parent: Node, child: Node, event: Any) -> None:
        """Count what `child` adds to `parent` with its aliases written out."""
        parent.size += child.size
        parent.depth = max(parent.depth, child.depth + 1)
        if parent.depth > DEPTH_MAX:
            raise self.stop(event, f"values are nested deeper than {DEPTH_MAX} levels", "a policy needs far fewer")
        if parent.size > NODES_MAX:
            message = f"the aliases stand for more than {NODES_MAX} values when written out"
            raise self.stop(event, message, "write the values out")

    def key(self, parent: Node, node: Node, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self.stop(event, "a key is not text", "keys are plain words; quote text that begins with [, { or *")
        name = str(event.value)
        if name == "<<" and event.implicit[0]:
            message = "merge keys are not part of YAML 1.2"
            raise self.stop(event, message, "use an alias for a whole value, or a Defaults document")
        if name in parent.value:
            first_line, _ = parent.keys[name]
            message = f"key {shown(name)} is here a second time; the first is in line {first_line}"
            self.faults.append(Fault(self.file, *_at(event), "", message, "keep one of them"))
        else:
            parent.keys[name] = (node.line, node.column)
        return name

    def scalar(self, event: Any) -> Any:
        self.refuse_tag(event)
        text = event.value
        if "\0" in text:
            raise self.stop(event, f"{shown(text)} holds a NUL", "remove it; no name or path has one")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _ODD_FLOAT.fullmatch(text):
            raise self.stop(event, f"{shown(text)} is not a number that a policy can have", "quote it if it is text")
        if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
            return self.number(event, text)
        return text

    def number(self, event: Any, text: str) -> Any:
        if len(text) > 18:
            raise self.stop(event, f"the number {shown(text)} is too long", "quote it if it is text")
        if text.startswith("0o") or text.startswith("0x"):
            return int(text, 0)
        if not _INT.fullmatch(text):
            return float(text) if abs(float(text)) != float("inf") else text
        return int(text)

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            raise self.stop(
                event, f"the tag {shown(event.tag)} is not allowed", "remove it; quote a value to make it text"
            )

    def stop(self, event: Any, message: str, hint: str) -> Unreadable:
        return Unreadable(Fault(self.file, *_at(event), "", message, hint))

    def syntax(self, error: yaml.MarkedYAMLError) -> Fault:
        mark: Any = error.problem_mark or error.context_mark
        if mark is None:
            return Fault(self.file, 0, 0, "", f"not YAML: {error.problem}")
        lines = self.text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        problem = str(error.problem or error.context)
        hint = "check the indentation, quotes and brackets here and in the line above"
        if "\t" in line[: len(line) - len(line.lstrip())]:
            problem, hint = "the line is indented with a tab", "indent with spaces"
        elif sign := re.search(r"[@`%*&!]", line[max(0, mark.column - 1) : mark.column + 1]):
            hint = f"quote a value that begins with {sign.group()}"
        elif "mapping values are not allowed" in problem:
            hint = "quote a value that holds ': ', and put each key on its own line"
        return Fault(self.file, mark.line + 1, mark.column + 1, "", f"not YAML: {problem}", hint)


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1
