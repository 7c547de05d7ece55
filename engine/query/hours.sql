-- Of {points} the full hours after which nothing changed until the next one: one a point that is an hour's last.
-- Columns: hour (microseconds of site time, the full hour at or after the point's at); by hour, the latest first.
SELECT DISTINCT ("at" + 3599999999) // 3600000000 * 3600000000 AS hour
FROM {points}
ORDER BY hour DESC
LIMIT $count
