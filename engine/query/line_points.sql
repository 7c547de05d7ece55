-- Makes table {table}: the recovery points among {marks}, from the first baseline on.
-- A bookmark names the point before it, with no other point between; of several the last one shows.
-- Columns: epoch, lsn, at (microseconds of site time), committed_at (microseconds of the node's time), point_class,
-- label (empty for none); by lsn.
CREATE OR REPLACE TABLE {table} AS
WITH points AS (
    SELECT epoch, lsn, "at", committed_at, point_class, label
    FROM {marks}
    WHERE mark IN ('pass', 'baseline') AND lsn >= (SELECT min(lsn) FROM {marks} WHERE mark = 'baseline')
),
named AS (
    SELECT p.lsn, arg_max(b.label, b.lsn) AS label
    FROM (SELECT lsn, label FROM {marks} WHERE mark = 'bookmark') b ASOF JOIN points p ON b.lsn >= p.lsn
    GROUP BY p.lsn
)
SELECT p.epoch, p.lsn, p."at", p.committed_at, coalesce(p.point_class, '') AS point_class,
    coalesce(n.label, p.label, '') AS label
FROM points p LEFT JOIN named n USING (lsn)
ORDER BY lsn
