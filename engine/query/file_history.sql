-- The changes of inode $file_id: its attributes as they were set, and extents written (all else null).
-- Columns: lsn, at (microseconds), kind (2 inode, 3 extent), type (letter's code), mode, uid, gid, size (bytes),
-- mtime_ns, rdev, target, xattrs; by lsn.
SELECT DISTINCT lsn, "at", kind, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
FROM {events}
WHERE kind IN (2, 3) AND subject = $file_id
ORDER BY lsn
