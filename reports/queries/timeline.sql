-- The period as bands of one state each.
-- States: 'none' (no policy asked for protection), 'unprotected' (asked for, no point yet), 'gap', 'protected'
-- (exposure within the objective), 'unproved' (within or above it: merged segments no longer say), 'late' (above),
-- 'open' (word may still be on its way).
-- Columns: stream, from_at, to_at (microseconds), state; by stream, from_at.
WITH parts AS (
    SELECT *, CASE WHEN rpo IS NULL THEN 'none' WHEN proved_at IS NULL THEN 'unprotected' WHEN NOT judged THEN 'open'
        WHEN gap_from IS NOT NULL THEN 'gap' END AS whole
    FROM moments
),
split AS (
    SELECT stream, from_at, to_at, whole AS state FROM parts WHERE whole IS NOT NULL
    UNION ALL
    SELECT stream, from_at, least(to_at, proved_at + rpo), 'protected' FROM parts WHERE whole IS NULL
    UNION ALL
    SELECT stream, greatest(from_at, proved_at + rpo), least(to_at, possible_at + rpo), 'unproved'
    FROM parts WHERE whole IS NULL
    UNION ALL
    SELECT stream, greatest(from_at, possible_at + rpo), to_at, 'late' FROM parts WHERE whole IS NULL
),
begins AS (
    SELECT *, state IS DISTINCT FROM lag(state) OVER (PARTITION BY stream ORDER BY from_at) AS begins
    FROM split
    WHERE from_at < to_at
),
bands AS (
    SELECT *, sum(begins::INTEGER) OVER (PARTITION BY stream ORDER BY from_at ROWS UNBOUNDED PRECEDING) AS band
    FROM begins
)
SELECT stream, min(from_at) AS from_at, max(to_at) AS to_at, any_value(state) AS state
FROM bands
GROUP BY stream, band
ORDER BY stream, from_at
