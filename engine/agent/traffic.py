"""What one stream has moved since its agent started, in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """`read` of files, `changed` in them as far as could be told, `sent` as batches, those sent again included.

    The first two are counted by the source's thread, the last one under the shipper's lock.
    """

    read: int = 0
    changed: int = 0
    sent: int = 0
