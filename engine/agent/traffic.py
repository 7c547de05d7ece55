"""What one stream has moved since its agent started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Bytes `read` of files, `changed` in them as far as could be told, `sent` as batches, those sent again included.

    The first two are counted by the source's thread, the others under the shipper's lock. `copies_refused`: how often
    the node refused what was referred to.
    """

    read: int = 0
    changed: int = 0
    sent: int = 0
    copies_refused: int = 0
