-- The points in {points} that {marks} of bookmarks named $label stand on, and all others that have a label.
-- A point shows $label when any of its bookmarks has it. Columns as points.sql.
WITH named AS (
    SELECT DISTINCT p.lsn
    FROM (SELECT lsn FROM {marks} WHERE mark = 'bookmark' AND label = $label) b
    ASOF JOIN {points} p ON b.lsn >= p.lsn
)
SELECT p.epoch, p.lsn, p."at", p.committed_at, p.point_class,
    CASE WHEN n.lsn IS NULL THEN p.label ELSE $label END AS label
FROM {points} p LEFT JOIN named n USING (lsn)
WHERE p.label <> '' OR n.lsn IS NOT NULL OR p.lsn = (SELECT max(lsn) FROM {points})
ORDER BY p.lsn
