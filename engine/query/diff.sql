-- What differs between the trees {left} and {right} (rows of engine.query.tree.TREE), and the files whose content
-- may differ: those in {written} (file_ids with extents written in between), or of another inode or size.
-- A directory's own time and size count for nothing: they follow what is in it.
-- Columns: path, old (row of the left tree or null), new (of the right one), attributes (boolean), content (boolean:
-- has to be compared).
WITH paired AS (
    SELECT coalesce(l.path, r.path) AS path, l, r
    FROM {left} l FULL OUTER JOIN {right} r ON l.path = r.path
),
judged AS (
    SELECT path, l, r,
        l.path IS NULL OR r.path IS NULL AS one_sided,
        (l."type", l.mode, l.uid, l.gid, l.rdev, l.target, l.xattrs)
            IS DISTINCT FROM (r."type", r.mode, r.uid, r.gid, r.rdev, r.target, r.xattrs)
            OR (l.mtime_ns <> r.mtime_ns AND r."type" <> ord('d')) AS attributes,
        r."type" = ord('f') AND l."type" = ord('f') AND (
            l.file_id <> r.file_id OR l.size <> r.size OR r.file_id IN (SELECT file_id FROM {written})
        ) AS content
    FROM paired
)
SELECT path, l AS old, r AS new, attributes AND NOT one_sided AS attributes, content AND NOT one_sided AS content
FROM judged
WHERE one_sided OR attributes OR content
ORDER BY path
