"""Checking the journal: structure always, every byte of content on request. It changes nothing.

Structure: documents match their hashes, segments their names, together they are all commits without a hole, their
chains hold, packs have the size that was written. With the data: every pack's hash, every frame, every extent's hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.format import names
from engine.journal.check_affected import affected_paths
from engine.journal.check_documents import check_documents, check_streams, read_streams
from engine.journal.check_packs import Progress, check_sizes, read_packs
from engine.journal.check_segments import Segments, check_segments
from engine.journal.findings import KINDS, MISSING, Affected, CheckError, Report
from engine.journal.open import Journal
from engine.store.base import Missing

__all__ = ["KINDS", "Affected", "CheckError", "Report", "check"]

_LOOKS = 5


def check(
    journal: Journal,
    read_data: bool = False,
    sample: float | None = None,
    progress: Progress = lambda done, total: None,
) -> Report:
    """What is wrong with the journal, object by object, and what that affects.

    With `read_data` all content is read, or the share `sample` of it (0 to 1); `progress` is told (bytes read, bytes to
    read). A journal in use may be checked: what is committed or merged meanwhile is looked at or not.
    """
    for look in range(_LOOKS):
        sizes = {item.key: item.size for item in journal.store.list("")}
        errors, documents = check_documents(journal, sizes)
        streams = read_streams(documents)
        try:
            found = check_segments(journal, list(sizes), streams, _boots(documents))
            break
        except Missing:  # merged away since it was listed
            if look == _LOOKS - 1:
                raise
    report = Report(objects=len(sizes), bytes=sum(sizes.values()))
    errors += check_streams(journal, streams, _epochs(found))
    errors += _missing_boots(found, sizes)
    bad, report.notes = check_sizes(sizes, found.trusted, found.holes)
    if read_data:
        if sample is None:  # those of a wrong size are read as well, which tells more of them
            bad = [each for each in bad if each.error.kind == MISSING]
        known = {each.error.object for each in bad}
        bad += read_packs(journal, found.trusted, streams, known, sample, progress)
    affected = affected_paths(journal, found.trusted, streams, {each.error.object: each.lost for each in bad})
    errors += found.errors
    errors += [each.error.with_affected(affected.get(each.error.object, ())) for each in bad]
    report.errors = _joined(errors)
    return report


def _joined(errors: Iterable[CheckError]) -> list[CheckError]:
    """One error for each object and kind, with all that it affects."""
    joined: dict[tuple[str, str], CheckError] = {}
    for error in errors:
        known = joined.get((error.object, error.kind))
        joined[error.object, error.kind] = known.with_affected(error.affected) if known else error
    return list(joined.values())


def _boots(documents: Mapping[str, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    return {int(fields["number"]): fields for key, fields in documents.items() if key.startswith(names.BOOTS)}


def _epochs(found: Segments) -> dict[str, set[int]]:
    """The epochs of which there are events, by stream."""
    used: dict[str, set[int]] = {}
    for _, footer in found.trusted:
        for stream, each in footer.streams.items():
            used.setdefault(stream, set()).update(run.epoch for run in each.runs)
    return used


def _missing_boots(found: Segments, sizes: Mapping[str, int]) -> list[CheckError]:
    """Boots that have commits and no document, behind the last one that has."""
    there = [number for key in sizes if key.startswith(names.BOOTS) and (number := names.number_in(key)) is not None]
    committed = {segment.boot for segment, _ in found.trusted}
    late = sorted(number for number in committed if number > max(there, default=0))
    return [CheckError(names.boot_key(number), MISSING, "a boot that has commits") for number in late]
