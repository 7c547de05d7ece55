"""What a batch may hold at the most. A limit on everything: a node reads what strangers send."""

from __future__ import annotations

FRAME_BYTES = 256 * 1024
"""A frame is closed once it holds this many raw bytes; no extent is longer."""

FRAME_BYTES_MAX = 2 * FRAME_BYTES
"""Raw bytes in any one frame: small extents fill one up, so it ends below twice the target."""

BATCH_BYTES_MAX = 64 << 20

COPIED_BYTES_MAX = 64 << 20
"""Bytes that a batch may refer to: the node reads them all before it answers."""
COLUMNS_BYTES_MAX = 128 << 20
EVENTS_MAX = 500_000
FRAMES_MAX = 4_096
HEADER_BYTES_MAX = 1 << 20
