-- Which LSNs are missing from {events} between $lsn_after (excluded) and $lsn_last (included).
-- Columns: lsn_first, lsn_last (LSNs, both included), at most $ranges_max rows, ascending.
WITH seen AS (
    SELECT DISTINCT lsn::BIGINT AS lsn FROM {events}
    UNION SELECT $lsn_after::BIGINT
    UNION SELECT $lsn_last::BIGINT + 1
),
steps AS (SELECT lsn, lead(lsn) OVER (ORDER BY lsn) AS next FROM seen)
SELECT lsn + 1 AS lsn_first, next - 1 AS lsn_last
FROM steps
WHERE next > lsn + 1
ORDER BY lsn
LIMIT $ranges_max
