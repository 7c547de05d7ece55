"""The one Arrow schema of events: what L0, L1, L2 and checkpoints hold (docs/format.md, "Segment").

One wide table; columns that a kind does not have are null. Rows are sorted by (stream, kind,
subject, lsn), so one file's extents, and one directory's names, lie together.
`subject` is the parent for dentries, the file_id for inodes and extents, 0 for the rest.
"""

from __future__ import annotations

import pyarrow as pa

EVENTS = pa.schema(
    [
        pa.field("stream", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("epoch", pa.uint32(), nullable=False),
        pa.field("lsn", pa.uint64(), nullable=False),
        pa.field("at", pa.int64(), nullable=False),  # site time, microseconds since 1970
        pa.field("committed_at", pa.int64(), nullable=False),  # the node's time, microseconds
        pa.field("kind", pa.uint8(), nullable=False),  # engine.model.events: DENTRY=1 .. RECORD=5
        pa.field("subject", pa.uint64(), nullable=False),
        pa.field("name", pa.binary()),  # dentry: the name in `subject`
        pa.field("file_id", pa.uint64()),  # dentry: what it leads to; null says unlinked
        pa.field("type", pa.uint8()),  # inode: ord() of f d l p s c b
        pa.field("mode", pa.uint32()),
        pa.field("uid", pa.uint32()),
        pa.field("gid", pa.uint32()),
        pa.field("size", pa.int64()),  # inode: logical bytes
        pa.field("mtime_ns", pa.int64()),
        pa.field("rdev", pa.uint64()),
        pa.field("target", pa.binary()),  # inode: of a symbolic link
        pa.field("xattrs", pa.binary()),  # inode: engine.model.xattrs
        pa.field("offset", pa.int64()),  # extent: first byte
        pa.field("length", pa.int64()),  # extent: bytes
        pa.field("pack", pa.dictionary(pa.int32(), pa.string())),  # extent: key of the pack; null is a hole
        pa.field("frame", pa.int64()),  # extent: where the frame begins in the pack, bytes
        pa.field("frame_bytes", pa.int32()),  # extent: the frame's length in the pack
        pa.field("skip", pa.int32()),  # extent: where it begins in the opened frame, bytes
        pa.field("hash", pa.binary(16)),  # extent: BLAKE3, 128 bits, keyed by the group
        pa.field("mark", pa.string()),  # mark: its kind (pass, baseline, bookmark, gap, ...); record: its topic
        pa.field("label", pa.string()),  # mark: a bookmark's name, a gap's reason
        pa.field("point_class", pa.string()),  # mark: application, crash, quiet, fuzzy; empty when no point
        pa.field("gap_from", pa.int64()),  # mark: where a gap began, microseconds
        pa.field("payload", pa.string()),  # record: JSON
    ]
)
"""Column order is part of the format."""
