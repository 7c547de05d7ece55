"""Values out of JSON objects that others send: each of the kind and size that is expected, or a UsageError.

An agent or a command line may be of another version, or no one of ours at all. What gets past here can be kept,
computed with and shown again without a second look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.model.errors import UsageError

TIME_MAX = 253_402_300_799_999_999
"""The last microsecond of the year 9999, beyond which times have no text form."""

COUNT_MAX = 1 << 62
TEXT_CHARS_MAX = 4096
_SHOWN_CHARS = 60

Object = Mapping[str, Any]


def text(value: Object, name: str, otherwise: str | None = None, *, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A text; `otherwise` when it is missing or null, unless that is None."""
    found = value.get(name)
    if found is None and otherwise is not None:
        return otherwise
    if not isinstance(found, str) or len(found) > chars_max:
        raise wrong(name, found, f"a text of at most {chars_max} characters")
    return found


def label(value: Object, name: str, *, chars_max: int = 100) -> str:
    """A text of 1 to `chars_max` characters, all of which can be printed: it goes on one line of a terminal."""
    found = text(value, name, chars_max=chars_max)
    if not found.strip() or not found.isprintable():
        raise wrong(name, found, f"1 to {chars_max} printable characters")
    return found


def whole(value: Object, name: str, otherwise: int | None = None, *, low: int = 0, high: int = COUNT_MAX) -> int:
    """A whole number from `low` to `high`; `otherwise` when it is missing or null, unless that is None."""
    found = value.get(name)
    if found is None and otherwise is not None:
        return otherwise
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        raise wrong(name, found, f"a whole number from {low} to {high}")
    return found


def time_or_none(value: Object, name: str) -> int | None:
    """A time in microseconds; None when it is missing, null or 0."""
    return whole(value, name, 0, high=TIME_MAX) or None


def mapping(value: Object, name: str, otherwise: Object | None = None) -> dict[str, Any]:
    found = value.get(name)
    if found is None and otherwise is not None:
        return dict(otherwise)
    if not isinstance(found, dict):
        raise wrong(name, found, "an object")
    return found


def objects(value: Object, name: str, *, count_max: int) -> list[dict[str, Any]]:
    """A list of objects; empty when it is missing or null."""
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > count_max or not all(isinstance(each, dict) for each in found):
        raise wrong(name, found, f"a list of at most {count_max} objects")
    return found


def texts(value: Object, name: str, *, count_max: int, chars_max: int = TEXT_CHARS_MAX) -> list[str]:
    """A list of texts; empty when it is missing or null."""
    found = value.get(name)
    if found is None:
        return []
    if (
        not isinstance(found, list)
        or len(found) > count_max
        or not all(isinstance(each, str) and len(each) <= chars_max for each in found)
    ):
        raise wrong(name, found, f"a list of at most {count_max} texts of at most {chars_max} characters")
    return found


def wrong(name: str, found: object, expected: str) -> UsageError:
    """The error for a value that is not what was expected."""
    return UsageError(f"'{name}' is {_shown(found)}, not {expected}")


def _shown(found: object) -> str:
    if found is None:
        return "missing"
    if isinstance(found, list | dict):
        return f"{'a list' if isinstance(found, list) else 'an object'} of {len(found)}"
    shown = repr(found)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"
