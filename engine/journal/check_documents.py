"""Checking documents: each is what was written under its key, none is missing from its numbers, keys can be had."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.format import documents, names
from engine.journal.epochs import Stream
from engine.journal.findings import CHANGED, MISSING, SWAPPED, TRUNCATED, UNREADABLE, Affected, CheckError, is_cut_short
from engine.journal.open import Journal
from engine.model.errors import BcsError, Damaged
from engine.model.ids import parse_address
from engine.store.base import Missing

_CONTROL = "control/"


def check_documents(journal: Journal, keys: Iterable[str]) -> tuple[list[CheckError], dict[str, dict[str, Any]]]:
    """The faults of all documents among `keys`, and the fields of those that are whole, by key."""
    errors: list[CheckError] = []
    whole: dict[str, dict[str, Any]] = {}
    bad: dict[str, bytes] = {}
    for key in keys:
        if not key.endswith(".json"):
            continue
        try:
            content = journal.store.get(key)
        except Missing:
            continue  # deleted since it was listed
        except (OSError, Damaged) as error:
            errors.append(CheckError(key, UNREADABLE, str(error)))
            continue
        try:
            whole[key] = documents.decode(key, content)
        except Damaged:
            bad[key] = content
    errors += [_fault(key, content, bad) for key, content in bad.items()]
    errors += _missing_numbers([*whole, *bad])
    return [_with_affected(error, whole, bad) for error in errors], whole


def check_streams(
    journal: Journal, streams: Mapping[str, Stream], used: Mapping[str, set[int]]
) -> Iterator[CheckError]:
    """What must be there for the streams that hold events: their documents, their epochs, their groups' keys.

    `used` are the epochs by stream that segments have events of.
    """
    present = {item.key for prefix in (names.STREAMS, names.KEYS) for item in journal.store.list(prefix)}
    site = names.data_key_key(names.SITE, 1)
    if site not in present:
        yield CheckError(site, MISSING, "the key of all packs", tuple(everything(each) for each in streams.values()))
    for stream, numbers in used.items():
        address = str(streams[stream].address) if stream in streams else stream
        all_of_it = Affected(address, "", 0, None)
        needed = {names.epoch_key(stream, number): "an epoch that has events" for number in numbers}
        needed[names.stream_key(stream)] = "the document of a stream that has events"
        if stream in streams:
            group_key = names.data_key_key(names.group_scope(streams[stream].group), 1)
            needed[group_key] = "the key of a group's hashes"
        for key, what in needed.items():
            if key not in present:
                yield CheckError(key, MISSING, what, (all_of_it,))


def everything(stream: Stream) -> Affected:
    return Affected(str(stream.address), "", 0, None)


def read_streams(whole: Mapping[str, Mapping[str, Any]]) -> dict[str, Stream]:
    """The streams whose documents are whole, by id."""
    found: dict[str, Stream] = {}
    for key, fields in whole.items():
        parts = key.split("/")
        if key.startswith(names.STREAMS) and parts[-1] == "stream.json":
            address = parse_address(fields["address"])
            found[parts[1]] = Stream(parts[1], address, str(fields["group"]), int(fields["created_at"]))
    return found


def _fault(key: str, content: bytes, bad: Mapping[str, bytes]) -> CheckError:
    """What is wrong with a document that does not decode."""
    for other in bad:
        if other != key and _decodes(other, content):
            return CheckError(key, SWAPPED, f"it holds the content of {other}")
    if is_cut_short(content, b"}\n"):
        return CheckError(key, TRUNCATED, f"it ends after {len(content)} bytes, inside its line")
    return CheckError(key, CHANGED, "its content does not match its hash")


def _decodes(key: str, content: bytes) -> bool:
    try:
        documents.decode(key, content)
    except Damaged:
        return False
    return True


def _missing_numbers(keys: Iterable[str]) -> Iterator[CheckError]:
    """Numbers are taken one after another, so one that is left out was there."""
    taken: dict[str, set[int]] = {}
    for key in keys:
        prefix = key[: key.rfind("/") + 1]
        number = names.number_in(key)
        if number is not None and (prefix.startswith(_CONTROL) or prefix.endswith("/epochs/")):
            taken.setdefault(prefix, set()).add(number)
    for prefix, numbers in taken.items():
        for number in sorted(set(range(1, max(numbers))) - numbers):
            yield CheckError(f"{prefix}{number:08d}.json", MISSING, f"{prefix} goes on to number {max(numbers)}")


def _with_affected(error: CheckError, whole: Mapping[str, Mapping[str, Any]], bad: Mapping[str, bytes]) -> CheckError:
    """A stream's document affects all of the stream, a key all streams that it serves."""
    parts = error.object.split("/")
    streams = {key.split("/")[1]: fields for key, fields in whole.items() if key.endswith("/stream.json")}
    if parts[0] == "streams":
        return error.with_affected([Affected(_address(parts[1], streams, bad), "", 0, None)])
    if parts[0] == "keys":
        served = [
            str(fields["address"])
            for fields in streams.values()
            if parts[1] in (names.SITE, names.group_scope(str(fields["group"])))
        ]
        return error.with_affected(Affected(address, "", 0, None) for address in sorted(served))
    return error


def _address(stream: str, streams: Mapping[str, Mapping[str, Any]], bad: Mapping[str, bytes]) -> str:
    """The address of a stream; from its damaged document if that still reads so, else its id."""
    if stream in streams:
        return str(streams[stream]["address"])
    try:
        return str(parse_address(json.loads(bad[names.stream_key(stream)])["address"]))
    except (KeyError, ValueError, TypeError, BcsError):
        return stream
