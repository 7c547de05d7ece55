-- The points in {points} of the stream {stream} at {address}, as users see them.
-- Columns: address, stream, point (EPOCH.LSN), epoch, lsn, at, committed_at (TIMESTAMPTZ), class, label.
SELECT {address} AS address, {stream} AS stream, epoch || '.' || lsn AS point, epoch, lsn,
    make_timestamptz("at") AS "at", make_timestamptz(committed_at) AS committed_at, point_class AS class, label
FROM {points}
