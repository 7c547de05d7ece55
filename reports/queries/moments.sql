-- The period cut, for each source, at every moment at which something changes: a step, a policy, a gap, the end of
-- what is known. Within a row all columns hold.
-- Columns: stream, from_at, to_at (microseconds), number and rpo (of the policy that held, microseconds; null for
-- none), gap_from (where the gap began that it lies in, microseconds; null outside), proved_at, possible_at
-- (restorable up to, microseconds; null before the first point), judged (whether it can be judged already);
-- by stream, from_at.
WITH bounds AS (
    SELECT stream, from_at AS "at" FROM complete
    UNION SELECT stream, from_at FROM policy_windows
    UNION SELECT stream, to_at FROM policy_windows
    UNION SELECT stream, from_at FROM gaps
    UNION SELECT stream, closed_at FROM gaps
    UNION SELECT stream, judged_until FROM heard
    UNION SELECT stream, from_at FROM sources, period
),
cuts AS (
    SELECT stream, "at" AS from_at, lead("at", 1, to_at) OVER (PARTITION BY stream ORDER BY "at") AS to_at
    FROM bounds, period
    WHERE "at" >= period.from_at AND "at" < period.to_at
),
in_gaps AS (
    SELECT cuts.stream, cuts.from_at, min(gaps.from_at) AS gap_from
    FROM cuts JOIN gaps ON gaps.stream = cuts.stream AND gaps.from_at <= cuts.from_at AND cuts.from_at < gaps.closed_at
    GROUP BY cuts.stream, cuts.from_at
),
proved AS (SELECT * FROM complete WHERE bound = 'proved'),
possible AS (SELECT * FROM complete WHERE bound = 'possible')
SELECT cuts.stream, cuts.from_at, cuts.to_at,
    CASE WHEN cuts.from_at < windows.to_at THEN windows.number END AS number,
    CASE WHEN cuts.from_at < windows.to_at THEN windows.rpo END AS rpo,
    in_gaps.gap_from,
    -- least() passes over nulls, which is right for the gap and wrong for a point that is not there yet.
    CASE WHEN proved.complete_at IS NOT NULL THEN least(proved.complete_at, in_gaps.gap_from) END AS proved_at,
    CASE WHEN possible.complete_at IS NOT NULL THEN least(possible.complete_at, in_gaps.gap_from) END AS possible_at,
    cuts.from_at < heard.judged_until AS judged
FROM cuts
JOIN heard USING (stream)
LEFT JOIN in_gaps USING (stream, from_at)
ASOF LEFT JOIN policy_windows AS windows ON windows.stream = cuts.stream AND cuts.from_at >= windows.from_at
ASOF LEFT JOIN proved ON proved.stream = cuts.stream AND cuts.from_at >= proved.from_at
ASOF LEFT JOIN possible ON possible.stream = cuts.stream AND cuts.from_at >= possible.from_at
ORDER BY cuts.stream, cuts.from_at
