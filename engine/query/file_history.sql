-- What became of inode $file_id by each point in {points} (line_points.sql) that holds a change of it.
-- Columns: point (LSN), inode (the last attributes that were set since the point before, as a row of lsn, at, type
-- (letter's code), mode, uid, gid, size, mtime_ns, rdev, target, xattrs; null for none), written (LSN of the last extent
-- since then; null for none); by point.
WITH changes AS (
    SELECT lsn, "at", kind, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
    FROM {events}
    WHERE kind IN (2, 3) AND subject = $file_id
),
placed AS (SELECT c.*, p.lsn AS point FROM changes c ASOF JOIN {points} p ON p.lsn >= c.lsn)
SELECT point,
    arg_max(
        struct_pack(lsn, "at", "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs), lsn
    ) FILTER (WHERE kind = 2) AS inode,
    max(lsn) FILTER (WHERE kind = 3) AS written
FROM placed
GROUP BY point
ORDER BY point
