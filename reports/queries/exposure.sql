-- The data loss exposure over the judged time: at a moment t it is t minus the moment up to which everything was
-- restorable, and 0 while nothing had changed since. Within a row it is 0 for `idle`, then grows with time from
-- `low` to `high`.
-- Columns: bound, stream, from_at, to_at, idle, low, high, rpo, over (how long it was above rpo): microseconds;
-- by bound, stream, from_at.
WITH judged AS (
    SELECT stream, from_at, to_at, rpo, unnest(['proved', 'possible']) AS bound,
        unnest([proved_at, possible_at]) AS complete_at
    FROM moments
    WHERE judged AND rpo IS NOT NULL AND proved_at IS NOT NULL
),
cut AS (
    SELECT *, least(greatest(complete_at, from_at), to_at) AS rises_at FROM judged
)
SELECT bound, stream, from_at, to_at, rises_at - from_at AS idle,
    greatest(rises_at - complete_at, 0) AS low, greatest(to_at - complete_at, 0) AS high, rpo,
    greatest(0, to_at - greatest(rises_at, complete_at + rpo)) AS "over"
FROM cut
ORDER BY bound, stream, from_at
