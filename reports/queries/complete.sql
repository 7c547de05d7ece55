-- Up to which moment a source was restorable, step by step: from from_at (node's time) until the next step, all
-- changes up to complete_at (site time) were durable.
-- A point makes complete what was changed until its `at`. A watermark, or several, after it and before the next
-- point says that nothing was changed in between, so the point was complete for that long, whenever the watermark
-- itself became durable.
-- `bound`: 'proved' counts what is written. A merged segment leaves out watermarks that said little; 'possible' takes
-- the source as idle for as long as they may have said. The truth lies between the two.
-- Columns: bound, stream, from_at, complete_at (microseconds); by bound, stream, from_at.
WITH ends AS (
    SELECT stream, "at", max(committed_at) AS committed_at
    FROM points
    GROUP BY stream, "at"
),
following AS (
    SELECT *, lead("at", 1, 9223372036854775807) OVER (PARTITION BY stream ORDER BY "at") AS next_at FROM ends
),
idle_proved AS (
    SELECT following.stream, following."at", max(through_at) AS idle_until
    FROM watermarks ASOF JOIN following
      ON watermarks.stream = following.stream AND watermarks.through_at >= following."at"
    GROUP BY following.stream, following."at"
),
idle_forgotten AS (
    SELECT following.stream, following."at", least(next_at, "at" + lost) AS idle_until
    FROM following ASOF JOIN forgotten
      ON forgotten.stream = following.stream AND following.committed_at >= forgotten.committed_at_first
    WHERE following.committed_at <= forgotten.committed_at_last
),
effects AS (
    SELECT 'proved' AS bound, stream, committed_at, greatest("at", coalesce(idle_until, "at")) AS complete_at
    FROM following LEFT JOIN idle_proved USING (stream, "at")
    UNION ALL
    SELECT 'possible', stream, committed_at,
        greatest("at", coalesce(idle_proved.idle_until, "at"), coalesce(idle_forgotten.idle_until, "at"))
    FROM following LEFT JOIN idle_proved USING (stream, "at") LEFT JOIN idle_forgotten USING (stream, "at")
),
single AS (
    SELECT bound, stream, committed_at AS from_at, max(complete_at) AS complete_at
    FROM effects
    GROUP BY bound, stream, committed_at
)
SELECT bound, stream, from_at,
    max(complete_at) OVER (PARTITION BY bound, stream ORDER BY from_at ROWS UNBOUNDED PRECEDING) AS complete_at
FROM single
ORDER BY bound, stream, from_at
