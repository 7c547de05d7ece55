-- Every name of the tree as of a position, and what it leads to. Names whose inode was never described are left out.
-- Columns: parent (file_id), name, file_id, type (letter's code), mode, uid, gid, size (bytes), mtime_ns, rdev, target,
-- xattrs, links (names of the inode; 1 for a directory), stored (bytes of it that are no holes; of what is smaller than
-- 64 KiB its size, of what was overwritten in part no less than it has); by parent, name.
WITH live AS (
    SELECT subject AS parent, name, file_id
    FROM {events}
    WHERE kind = 1
    QUALIFY row_number() OVER (PARTITION BY subject, name ORDER BY lsn DESC) = 1
),
named AS (SELECT parent, name, file_id FROM live WHERE file_id IS NOT NULL),
inodes AS MATERIALIZED (
    SELECT subject AS file_id, "type", mode, uid, gid, size, mtime_ns, rdev, target, xattrs
    FROM {events}
    WHERE kind = 2
    QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
),
counted AS (SELECT file_id, count(*) AS links FROM named GROUP BY file_id),
extents AS (
    SELECT subject AS file_id, "length", pack
    FROM {events}
    WHERE kind = 3 AND subject IN (SELECT file_id FROM inodes WHERE size >= 65536)
    QUALIFY row_number() OVER (PARTITION BY subject, "offset", "length" ORDER BY lsn DESC) = 1
),
data AS (SELECT file_id, sum("length")::BIGINT AS stored FROM extents WHERE pack IS NOT NULL GROUP BY file_id)
SELECT named.parent, named.name, inodes.*,
    CASE WHEN inodes."type" = ord('d') THEN 1 ELSE counted.links END AS links,
    CASE WHEN inodes.size < 65536 THEN inodes.size ELSE least(inodes.size, coalesce(data.stored, 0)) END AS stored
FROM named JOIN inodes USING (file_id) JOIN counted USING (file_id) LEFT JOIN data USING (file_id)
ORDER BY named.parent, named.name
