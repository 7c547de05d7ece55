-- An empty relation in the shape of events (engine.format.schema), for a stream without segments.
-- Times in microseconds, sizes and offsets in bytes.
CREATE TABLE IF NOT EXISTS no_events (
    stream VARCHAR, epoch UINTEGER, lsn UBIGINT, "at" BIGINT, committed_at BIGINT, kind UTINYINT, subject UBIGINT,
    name BLOB, file_id UBIGINT, "type" UTINYINT, mode UINTEGER, uid UINTEGER, gid UINTEGER, size BIGINT,
    mtime_ns BIGINT, rdev UBIGINT, target BLOB, xattrs BLOB, "offset" BIGINT, "length" BIGINT, pack VARCHAR,
    frame BIGINT, frame_bytes INTEGER, skip INTEGER, hash BLOB, mark VARCHAR, label VARCHAR, point_class VARCHAR,
    gap_from BIGINT, payload VARCHAR
)
