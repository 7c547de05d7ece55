"""The JSON Schema of policies, and what is wrong with a document by it, in words.

The schema files are those editors use (policies/schema). Keywords of our own bound durations (`x-durationMin`,
`x-durationMax`), sizes and rates (`x-sizeMin`, `x-sizeMax`), and say what else than one of some words may stand there
(`x-orElse`); other programs ignore them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.model.errors import NothingThere, UsageError
from engine.model.policy.agents import parse_rate
from engine.model.policy.documents import KINDS
from engine.model.times import DURATION_PATTERN, SIZE_PATTERN, parse_duration
from engine.reconcile.load_yaml import shown

FOLDER = Path(__file__).resolve().parents[2] / "policies" / "schema"
_SHARED = "values.schema.json"
FAULTS_MAX = 50
"""Per document: who has more than these has one mistake made many times."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`path` leads to the value; `at_key` says that its key is meant, not its value."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""
    at_key: bool = False


def file_of(kind: str) -> str:
    """ProtectionGroup → protection-group.schema.json."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower() + ".schema.json"


@cache
def schema(kind: str | None = None) -> Mapping[str, Any]:
    """The schema of one kind, complete in itself; of any policy document without a kind.

    NothingThere for an unknown kind.
    """
    if kind is None:
        parts = {name: schema(name) for name in KINDS}
        whole: dict[str, Any] = _bundled("policy.schema.json")
        for branch, name in zip(whole["allOf"], KINDS, strict=True):
            branch["then"] = {"$ref": f"#/$defs/{name}"}
        bodies = {name: {key: value for key, value in part.items() if key != "$defs"} for name, part in parts.items()}
        return {**whole, "$defs": {**whole["$defs"], **bodies}}
    if kind not in KINDS:
        raise NothingThere(
            f"there is no kind {shown(kind)}", hint=nearest(kind, KINDS) or f"kinds are {', '.join(KINDS)}"
        )
    return _bundled(file_of(kind))


def _bundled(file: str) -> dict[str, Any]:
    """One schema file with the shared definitions taken in, so that it refers to nothing outside."""
    text = (FOLDER / file).read_text(encoding="utf-8").replace(f'"{_SHARED}#/', '"#/')
    shared = json.loads((FOLDER / _SHARED).read_text(encoding="utf-8"))
    whole: dict[str, Any] = json.loads(text)
    return {**whole, "$defs": shared["$defs"]}


def problems(kind: str, document: Mapping[str, Any]) -> list[Problem]:
    """What the schema of `kind` finds wrong with a document, in no particular order; of a value the first only."""
    found: list[Problem] = []
    values: set[tuple[str | int, ...]] = set()
    for error in _validator(kind).iter_errors(document):
        for problem in _explain(error):
            if problem.at_key or problem.path not in values:
                found.append(problem)
            if not problem.at_key:
                values.add(problem.path)
            if len(found) >= FAULTS_MAX:
                return found
    return found


@cache
def _validator(kind: str) -> Any:
    # Imported here: it takes a quarter of the start-up time that commands without policies need not pay.
    from jsonschema import Draft202012Validator, validators

    extend: Any = validators.extend
    keywords = {"x-durationMin": _duration_min, "x-durationMax": _duration_max, "pattern": _pattern}
    keywords |= {"x-sizeMin": _size_min, "x-sizeMax": _size_max}
    return extend(Draft202012Validator, keywords)(schema(kind))


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    """As JSON Schema's, but `$` is the very end: Python's also matches before a last line feed."""
    from jsonschema import ValidationError

    strict = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(value, str) and not re.search(strict, value):
        yield ValidationError("pattern")


def _duration_min(validator: Any, bound: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    duration = _duration(value)
    if duration is not None and duration < parse_duration(bound):
        yield ValidationError(f"{shown(value)} is too short: at least {bound}")


def _duration_max(validator: Any, bound: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    duration = _duration(value)
    written = isinstance(value, str) and re.fullmatch(DURATION_PATTERN, value)
    if written and (duration is None or duration > parse_duration(bound)):
        yield ValidationError(f"{shown(value)} is too long: at most {bound}")


def _size_min(validator: Any, bound: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    size = _size(value)
    if size is not None and size < parse_rate(bound):
        yield ValidationError(f"{shown(value)} is too little: at least {bound}")


def _size_max(validator: Any, bound: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    size = _size(value)
    if size is not None and size > parse_rate(bound):
        yield ValidationError(f"{shown(value)} is too much: at most {bound}")


def _size(value: Any) -> int | None:
    """Bytes, or bytes a second; None for what is neither."""
    written = isinstance(value, str) and re.fullmatch(SIZE_PATTERN, value.removesuffix("/s"))
    return parse_rate(value) if written else None


def _duration(value: Any) -> int | None:
    """Microseconds, or None for what is no duration or an absurd one."""
    if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value):
        return None
    try:
        return parse_duration(value)
    except UsageError:
        return None


def _explain(error: Any) -> Iterator[Problem]:
    """One error of the validator as problems that a person can act on."""
    path = tuple(error.absolute_path)
    value, rule, about = error.instance, error.validator, error.schema
    if rule == "additionalProperties":
        known = list(about["properties"])
        for key in value:
            if key not in known:
                hint = nearest(key, known) or f"keys here are {', '.join(known)}"
                yield Problem((*path, key), f"unknown key {shown(key)}", hint, at_key=True)
    elif rule == "required":
        for key in error.validator_value:
            if key not in value and f"'{key}'" in error.message:
                yield Problem(path, f"{shown(key)} is missing", _key_hint(about, key), at_key=True)
    elif rule == "oneOf":
        yield Problem(path, *_one_of(about, value))
    elif rule == "type" or (rule == "pattern" and not isinstance(value, str)):
        yield Problem(path, f"expected {_article(_noun(about))}, found {describe(value)}", _examples(about))
    elif rule == "pattern":
        yield Problem(path, *_mismatch(about, value))
    elif rule in ("enum", "const"):
        allowed = error.validator_value if rule == "enum" else [error.validator_value]
        forms = [*allowed, *about.get("x-orElse", [])]
        hint = (isinstance(value, str) and nearest(value, allowed)) or f"write {_either(forms)}"
        noun = about.get("title") or "value of this key"
        yield Problem(path, f"{_quoted(value)} is not {_article(noun)}", hint)
    else:
        yield Problem(path, *_bounds(rule, error, about, value))


def _bounds(rule: str, error: Any, about: Mapping[str, Any], value: Any) -> tuple[str, str]:
    limit = error.validator_value
    sentences = {
        "minItems": "the list is empty",
        "maxItems": f"the list is longer than {limit}",
        "maxProperties": f"the mapping has more than {limit} keys",
        "minLength": "the text is empty",
        "maxLength": f"{_quoted(value)} is longer than {limit} characters",
        "minimum": f"{value} is too little: at least {limit}",
        "maximum": f"{value} is too much: at most {limit}",
    }
    return sentences.get(rule, error.message), _examples(about)


def _mismatch(about: Mapping[str, Any], value: str) -> tuple[str, str]:
    noun = _noun(about)
    if noun == "duration" and re.fullmatch(r"-[0-9]+[a-z]*", value):
        return f"the duration {shown(value)} is negative", _examples(about)
    return f"{shown(value)} is not {_article(noun)}", _examples(about)


def _one_of(about: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[str, str]:
    choices = [choice["required"][0] for choice in about["oneOf"]]
    there = [choice for choice in choices if choice in value]
    found = f"has {' and '.join(there)}" if there else "has none"
    return f"a {_noun(about)} has exactly one of {', '.join(choices)}; this one {found}", (
        "write an entry for each" if there else f"write {_either(choices)}"
    )


def _noun(about: Mapping[str, Any]) -> str:
    words = {"object": "mapping", "array": "list", "string": "text", "boolean": "truth value"}
    words["integer"] = "whole number"
    return str(about.get("title") or words.get(str(about.get("type")), "value of this key"))


def _article(noun: str) -> str:
    if noun in ("text", "labels", "objectives", "metadata", "tiers", "drills"):
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def describe(value: Any) -> str:
    """A value in words: the number 5, the text 'x', a list, a mapping, nothing, true."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"the text {shown(value)}" if isinstance(value, str) else f"the number {value}"


def _quoted(value: Any) -> str:
    return shown(value) if isinstance(value, str) else describe(value)


def _examples(about: Mapping[str, Any]) -> str:
    examples = [_written(example) for example in about.get("examples", ())[:4]]
    return f"for example {', '.join(examples)}" if examples else ""


def _written(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)


def _key_hint(about: Mapping[str, Any], key: str) -> str:
    """How a missing key might be written, from its own schema."""
    examples = about["properties"][key].get("examples", [])
    return f"for example {key}: {_written(examples[0])}" if examples else ""


def _either(choices: Sequence[Any]) -> str:
    words = [_written(choice) for choice in choices]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def nearest(word: str, known: Sequence[str]) -> str:
    """'did you mean …?' for a word that is close to a known one, else nothing."""
    from difflib import get_close_matches

    lowered = {name.lower(): name for name in reversed(known)}
    match = get_close_matches(word[:100].lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean {lowered[match[0]]}?" if match else ""
