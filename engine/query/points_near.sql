-- Of {points} the ones that decide about a moment: the first, the last, the neighbours of time $at, those at
-- LSN $lsn and beside it. Needs "at" to grow with lsn. Columns as points.sql.
SELECT DISTINCT epoch, lsn, "at", committed_at, point_class, label
FROM {points}
WHERE lsn IN (
    (SELECT min(lsn) FROM {points}), (SELECT max(lsn) FROM {points}),
    (SELECT max(lsn) FROM {points} WHERE "at" <= $at), (SELECT min(lsn) FROM {points} WHERE "at" > $at),
    $lsn, (SELECT max(lsn) FROM {points} WHERE lsn < $lsn), (SELECT min(lsn) FROM {points} WHERE lsn > $lsn)
)
ORDER BY lsn
