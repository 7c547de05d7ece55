-- The latest attributes of inode $file_id.
-- Columns: lsn, at (microseconds), file_id, type (letter's code), mode, uid, gid, size (bytes), mtime_ns,
-- rdev, target, xattrs. No row when it was never described.
SELECT lsn, "at", subject AS file_id, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
FROM {events}
WHERE kind = 2 AND subject = $file_id
ORDER BY lsn DESC
LIMIT 1
