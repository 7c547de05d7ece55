-- Which applied policy held for a source, when, within the period. A policy holds until the next one is applied.
-- Columns: stream, number (of the control object), from_at, to_at (microseconds, cut to the period), applied_at
-- (microseconds), applied_by, git_commit, dirty, rpo (microseconds), retention (JSON); by stream, number.
WITH held AS (
    SELECT *, lead(applied_at, 1, 9223372036854775807) OVER (ORDER BY number) AS until_at
    FROM policies
)
SELECT stream, number, greatest(applied_at, period.from_at) AS from_at, least(until_at, period.to_at) AS to_at,
    applied_at, applied_by, git_commit, dirty, rpo, retention
FROM held
JOIN policy_sources USING (number)
JOIN sources USING (stream)
CROSS JOIN period
WHERE greatest(applied_at, period.from_at) < least(until_at, period.to_at)
ORDER BY stream, number
