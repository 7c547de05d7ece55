-- Marks (kind 4) and records (kind 5) of {segments}, once each, whichever segments hold them.
-- Columns: as in events (engine.format.schema); times in microseconds.
SELECT DISTINCT ON (stream, epoch, lsn)
    stream::VARCHAR AS stream, epoch, lsn, "at", committed_at, kind, mark, label, point_class, gap_from, payload
FROM {segments}
WHERE kind IN (4, 5)
