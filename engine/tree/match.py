"""Exclude patterns of policies, compiled to one fast function over (path, is_directory).

    *.tmp            a name, anywhere below the source's path
    cache/           the same, directories only
    build/*.o        names in a row, anywhere below
    /srv/x/cache     an absolute path; wildcards work in it too
    a/**/b           ** stands for any number of directories, none included

`*` and `?` and `[a-z]`, `[!a-z]` match within one name, names that begin with a dot too; `\\` takes the next
character as it is. What lies below an excluded directory is excluded with it. There is no negation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from engine.model.errors import UsageError

Exclude = Callable[[bytes, bool], bool]

_END = rb"(?:/|\Z)"
_CHARACTER = b"(?>[\xc2-\xf4][\x80-\xbf]{1,3}|[^/])"
"""One character of UTF-8, or one byte that belongs to none."""


def compile_excludes(patterns: Iterable[str | bytes], root: bytes = b"/") -> Exclude:
    """A function (path, is_directory) -> excluded, for paths at and below the directory `root`.

    Patterns that don't begin with a slash see only what is below `root`, so that a source in /var/cache/x
    may exclude `cache/`. A pattern is text as in the policy (UTF-8), or bytes. Raises UsageError.
    """
    floating: list[bytes] = []
    anchored: list[bytes] = []
    for pattern in patterns:
        raw = pattern.encode("utf-8", "surrogateescape") if isinstance(pattern, str) else pattern
        _refuse_nonsense(raw)
        if raw.startswith(b"/"):
            anchored.append(_translate(raw))
        else:
            while raw.startswith(b"**/"):  # says what a pattern without a leading slash means anyway
                raw = raw[3:]
            floating.append(_translate(raw))
    if not floating and not anchored:
        return lambda path, is_directory: False
    names = b"|".join(expression.removeprefix(b"/") for expression in floating)
    at_root = re.compile(b"|".join(anchored), re.DOTALL).match if anchored else None
    below = re.compile(b"/(?:" + names + b")", re.DOTALL).search if floating else None
    start = len(root.rstrip(b"/"))

    def excluded(path: bytes, is_directory: bool) -> bool:
        subject = path + b"/" if is_directory else path
        if below is not None and below(subject, start) is not None:
            return True
        return at_root is not None and at_root(subject) is not None

    return excluded


def _translate(pattern: bytes) -> bytes:
    """One pattern as a regular expression that begins at a slash and ends at a slash or the end of the path."""
    segments = pattern.strip(b"/").split(b"/")
    directories_only = pattern.endswith(b"/")
    if segments[-1] == b"**" and directories_only:
        segments[-1] = b"*"
    if segments[-1] == b"**":  # all below: the directory itself stays
        del segments[-1]
        ending = b"/."
    else:
        ending = b"/" if directories_only else _END
    # Pieces between ** are matched where they fit first, and never tried again further on: since each
    # is a fixed number of names, the first fit is as good as any, and the time stays linear.
    pieces: list[list[bytes]] = [[]]
    for segment in segments:
        if segment == b"**":
            pieces.append([])
        else:
            pieces[-1].append(segment)
    expressions = [b"".join(b"/" + _translate_name(name) for name in piece) for piece in pieces]
    result = expressions[0]
    for number, expression in enumerate(expressions[1:], start=2):
        if not expression and number < len(expressions):
            continue
        last = number == len(expressions)
        closing = ending if last else rb"(?=/)"
        result += b"(?>(?:/[^/]++)*?" + expression + closing + b")"
    return result if len(expressions) > 1 else result + ending


def _translate_name(name: bytes) -> bytes:
    """One name with wildcards. A star before more text takes the first fit, for the same reason as above."""
    chunks: list[bytes] = [b""]
    at = 0
    while at < len(name):
        character = name[at : at + 1]
        at += 1
        if character == b"*":
            chunks.append(b"")
            continue
        if character == b"?":
            chunks[-1] += _CHARACTER
        elif character == b"[":
            expression, at = _translate_class(name, at)
            chunks[-1] += expression
        elif character == b"\\":
            chunks[-1] += re.escape(name[at : at + 1])
            at += 1
        else:
            chunks[-1] += re.escape(character)
    if len(chunks) == 1:
        return chunks[0]
    middle = b"".join(b"(?>[^/]*?" + chunk + b")" for chunk in chunks[1:-1] if chunk)
    # The last piece must end the name, so its star is the only one that may be tried in several lengths.
    return b"(?=[^/])" + chunks[0] + middle + b"[^/]*" + chunks[-1] + b"(?![^/])"


def _translate_class(name: bytes, at: int) -> tuple[bytes, int]:
    """The class whose `[` stands before `at`, and where it ends."""
    end = name.find(b"]", at + (2 if name[at : at + 1] in (b"!", b"^") else 1))
    if end < 0:
        raise UsageError(f"pattern name {name!r} has a [ without ]", hint="write \\[ for the character itself")
    body = name[at:end]
    if not body.isascii():
        raise UsageError(f"pattern name {name!r}: [...] takes ASCII characters only", hint="use ? instead")
    negated = body[:1] in (b"!", b"^")
    members = b"[" + re.sub(rb"([\[\]\\^&~|])", rb"\\\1", body[1:] if negated else body) + b"]"
    expression = b"(?!" + members + b")" + _CHARACTER if negated else b"(?!/)" + members
    try:
        re.compile(expression)
    except re.error as error:
        raise UsageError(f"pattern name {name!r} has a bad [...]: {error}") from error
    return expression, end + 1


def _refuse_nonsense(pattern: bytes) -> None:
    """UsageError for a pattern that can match nothing, matches everything, or means something elsewhere."""
    text = pattern.decode("utf-8", "backslashreplace")
    names = pattern.strip(b"/").split(b"/")
    if not pattern.strip(b"/") or b"\0" in pattern:
        raise UsageError(f"pattern {text!r} is empty or holds a NUL byte")
    if pattern.startswith(b"!"):
        raise UsageError(f"pattern {text!r}: there is no negation", hint="write \\! for a name that begins so")
    if any(name in (b"", b".", b"..") for name in names):
        raise UsageError(f"pattern {text!r} holds an empty name, '.' or '..'", hint="write the path as it is on disk")
    if (len(pattern) - len(pattern.rstrip(b"\\"))) % 2:
        raise UsageError(f"pattern {text!r} ends in a backslash that has nothing to escape")
    if len(names) == 1 and set(names[0]) == {ord("*")} and not pattern.endswith(b"/"):
        raise UsageError(f"pattern {text!r} excludes everything", hint="name what to leave out")
    if set(pattern) <= {ord("*"), ord("/")} and b"**" in pattern:
        raise UsageError(f"pattern {text!r} excludes everything", hint="name what to leave out")
