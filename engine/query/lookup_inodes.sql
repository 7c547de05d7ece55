-- The latest attributes of inodes {file_ids}.
-- Columns: lsn, at (microseconds), file_id, type (letter's code), mode, uid, gid, size (bytes), mtime_ns,
-- rdev, target, xattrs. No row for one that was never described.
SELECT lsn, "at", subject AS file_id, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
FROM {events}
WHERE kind = 2 AND subject IN ({file_ids})
QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
