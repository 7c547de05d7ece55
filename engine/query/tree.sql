-- Every path below directory $root, whose own path is $path (empty for the root) and whose way from the
-- root is $above (file_ids, itself among them). Names whose inode was never described are left out.
-- Columns: path, lsn, at (microseconds), file_id, type (letter's code), mode, uid, gid, size (bytes), mtime_ns,
-- rdev, target, xattrs; by path.
WITH RECURSIVE
live AS MATERIALIZED (
    SELECT parent, name, file_id
    FROM (
        SELECT subject AS parent, name, file_id
        FROM {events}
        WHERE kind = 1
        QUALIFY row_number() OVER (PARTITION BY subject, name ORDER BY lsn DESC) = 1
    )
    WHERE file_id IS NOT NULL
),
inodes AS MATERIALIZED (
    SELECT lsn, "at", subject AS file_id, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
    FROM {events}
    WHERE kind = 2
    QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
),
below AS MATERIALIZED (
    SELECT live.parent, live.name, live.file_id
    FROM live JOIN inodes USING (file_id)
    WHERE inodes."type" = ord('d')
),
-- `above` ends the walk should a damaged history hold a directory inside itself.
directories(file_id, path, above) AS (
    SELECT $root::UBIGINT, $path::BLOB, $above::UBIGINT[]
    UNION ALL
    SELECT below.file_id, directories.path || '/'::BLOB || below.name, list_append(directories.above, below.file_id)
    FROM directories JOIN below ON below.parent = directories.file_id
    WHERE NOT list_contains(directories.above, below.file_id)
)
SELECT directories.path || '/'::BLOB || live.name AS path, inodes.*
FROM directories
JOIN live ON live.parent = directories.file_id
JOIN inodes ON inodes.file_id = live.file_id
ORDER BY path
