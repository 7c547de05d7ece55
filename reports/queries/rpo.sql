-- RPO achieved: the exposure's worst value, and the values that it did not pass for 99 % and for half of the judged
-- time. Exposure grows evenly within a row of `exposure`, so the quantiles are exact, not sampled.
-- Columns: bound, stream, judged (time judged), worst, p99, median, over (time above the objective): microseconds;
-- by bound, stream.
WITH totals AS (
    SELECT bound, stream, sum(to_at - from_at) AS judged, sum(idle) AS idle, max(high) AS worst, sum("over") AS "over"
    FROM exposure
    GROUP BY bound, stream
),
edges AS (
    SELECT bound, stream, value, sum(step) AS step
    FROM (
        SELECT bound, stream, low AS value, 1 AS step FROM exposure WHERE high > low
        UNION ALL
        SELECT bound, stream, high, -1 FROM exposure WHERE high > low
    )
    GROUP BY bound, stream, value
),
-- Between two values that follow one another, `rows` rows of exposure pass at the same speed.
sweep AS (
    SELECT bound, stream, value, sum(step) OVER w AS "rows", lead(value) OVER w AS next_value
    FROM edges
    WINDOW w AS (PARTITION BY bound, stream ORDER BY value)
),
mass AS (
    SELECT *, sum("rows" * (next_value - value)) OVER (PARTITION BY bound, stream ORDER BY value) AS until_next
    FROM sweep
    WHERE next_value IS NOT NULL
),
wanted AS (
    SELECT totals.*, share, share * judged AS target FROM totals, (SELECT unnest([0.99, 0.5])::DOUBLE AS share)
),
quantiles AS (
    SELECT bound, stream, share,
        CASE WHEN any_value(target) <= any_value(idle) THEN 0
             ELSE arg_min(next_value - (idle + until_next - target) / "rows", value)
                 FILTER (idle + until_next >= target)
        END AS value
    FROM wanted LEFT JOIN mass USING (bound, stream)
    GROUP BY bound, stream, share
)
SELECT bound, stream, judged, worst,
    -- Rounding must not hand out more than the worst.
    least(worst, round(max(value) FILTER (share > 0.9)))::BIGINT AS p99,
    least(worst, round(max(value) FILTER (share < 0.9)))::BIGINT AS median,
    "over"
FROM totals JOIN quantiles USING (bound, stream)
GROUP BY bound, stream, judged, worst, "over"
ORDER BY bound, stream
