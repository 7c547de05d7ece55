-- The entries of directory $parent, whose path is $path (empty for the root).
-- Columns: path, lsn, at (microseconds), file_id, type (letter's code), mode, uid, gid, size (bytes), mtime_ns,
-- rdev, target, xattrs; by path.
WITH names AS (
    SELECT name, file_id
    FROM {events}
    WHERE kind = 1 AND subject = $parent
    QUALIFY row_number() OVER (PARTITION BY name ORDER BY lsn DESC) = 1
),
live AS (SELECT name, file_id FROM names WHERE file_id IS NOT NULL),
inodes AS (
    SELECT lsn, "at", subject AS file_id, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
    FROM {events}
    WHERE kind = 2 AND subject IN (SELECT file_id FROM live)
    QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
)
SELECT $path::BLOB || '/'::BLOB || live.name AS path, inodes.*
FROM live JOIN inodes USING (file_id)
ORDER BY path
