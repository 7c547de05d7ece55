-- The points in {points} with from_at <= at <= to_at (microseconds; null for no bound), the last $count of them.
-- Columns: epoch, lsn, at, committed_at (microseconds), point_class, label; by lsn.
SELECT * FROM (
    SELECT epoch, lsn, "at", committed_at, point_class, label
    FROM {points}
    WHERE ($from_at IS NULL OR "at" >= $from_at) AND ($to_at IS NULL OR "at" <= $to_at)
    ORDER BY lsn DESC
    LIMIT $count
) ORDER BY lsn
