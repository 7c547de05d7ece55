-- Whether each source met its objective while a policy asked for it.
-- Verdicts: 'met' (never above the objective since its first point), 'missed' (above it, or no point at all),
-- 'not-shown' (above it unless the source was idle, which merged segments no longer say), 'not-judged' (no policy
-- named it in the period, or nothing of the period can be judged yet).
-- Columns: stream, address, verdict, asked (how long a policy asked for protection), unprotected (how long of that
-- there was no point), gap, late (above the objective outside gaps): microseconds; by address.
WITH lasting AS (
    SELECT stream, sum(to_at - from_at) FILTER (state <> 'none') AS asked,
        sum(to_at - from_at) FILTER (state = 'unprotected') AS unprotected,
        sum(to_at - from_at) FILTER (state = 'gap') AS gap,
        sum(to_at - from_at) FILTER (state = 'late') AS late
    FROM timeline
    GROUP BY stream
),
pointed AS (
    SELECT DISTINCT stream FROM moments WHERE rpo IS NOT NULL AND proved_at IS NOT NULL
),
proved AS (SELECT * FROM rpo WHERE bound = 'proved'),
possible AS (SELECT * FROM rpo WHERE bound = 'possible')
SELECT stream, address,
    CASE WHEN coalesce(asked, 0) = 0 THEN 'not-judged'
         WHEN proved.stream IS NULL AND pointed.stream IS NULL AND coalesce(unprotected, 0) > 0 THEN 'missed'
         WHEN proved.stream IS NULL THEN 'not-judged'
         WHEN possible."over" > 0 THEN 'missed'
         WHEN proved."over" > 0 THEN 'not-shown'
         ELSE 'met' END AS verdict,
    coalesce(asked, 0) AS asked, coalesce(unprotected, 0) AS unprotected, coalesce(gap, 0) AS gap,
    coalesce(late, 0) AS late
FROM sources
LEFT JOIN lasting USING (stream)
LEFT JOIN pointed USING (stream)
LEFT JOIN proved USING (stream)
LEFT JOIN possible USING (stream)
ORDER BY address
