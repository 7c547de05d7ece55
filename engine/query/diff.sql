-- What differs between the trees {left} and {right} (rows of engine.query.tree.TREE), and the files whose content
-- may differ: those in {written} (file_ids with extents written in between), or of another inode or size.
-- A directory's own time and size count for nothing: they follow what is in it.
-- Columns: path, old (row of the left tree or null), new (of the right one), attributes (boolean), content (boolean:
-- has to be compared).
SELECT coalesce(l.path, r.path) AS path,
    l AS old,
    r AS new,
    l.path IS NOT NULL AND r.path IS NOT NULL AND (
        (l."type", l.mode, l.uid, l.gid, l.rdev, l.target, l.xattrs)
            IS DISTINCT FROM (r."type", r.mode, r.uid, r.gid, r.rdev, r.target, r.xattrs)
        OR (l.mtime_ns <> r.mtime_ns AND r."type" <> ord('d'))
    ) AS attributes,
    r."type" = ord('f') AND l."type" = ord('f') AND (
        l.file_id <> r.file_id OR l.size <> r.size OR w.file_id IS NOT NULL
    ) AS content
FROM {left} l
FULL OUTER JOIN {right} r ON l.path = r.path
LEFT JOIN {written} w ON w.file_id = r.file_id
WHERE l.path IS NULL OR r.path IS NULL OR l.lsn <> r.lsn OR l.file_id <> r.file_id OR w.file_id IS NOT NULL
ORDER BY path
