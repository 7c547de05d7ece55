-- Up to which moment a source was restorable, step by step: from from_at (node's time) until the next step, all
-- changes up to complete_at (site time) were durable.
-- A point makes complete what was changed until its `at`. A watermark, or several, after it and before the next
-- point says that nothing was changed in between, so the point was complete for that long, whenever the watermark
-- itself became durable.
-- `bound`: 'proved' counts what is written. A merged segment keeps only its last watermark; 'possible' takes the
-- source as idle where the merged ones may have said so. The truth lies between the two, mostly at 'possible'.
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
-- A merged segment may have held any watermark between the last one before it and its own.
told AS (
    SELECT stream, committed_at_last, max(through_at) OVER (
        PARTITION BY stream ORDER BY committed_at_last
    ) AS through_at
    FROM watermarks
),
unsure AS (
    SELECT watermarks.stream, coalesce(told.through_at, 0) AS after_at, watermarks.through_at
    FROM watermarks ASOF LEFT JOIN told
      ON watermarks.stream = told.stream AND watermarks.committed_at_first > told.committed_at_last
    WHERE merged
),
ahead AS (
    SELECT stream, after_at, max(through_at) OVER (PARTITION BY stream ORDER BY after_at) AS through_at FROM unsure
),
idle_merged AS (
    SELECT following.stream, following."at", least(next_at, through_at) AS idle_until
    FROM following ASOF JOIN ahead ON ahead.stream = following.stream AND following.next_at > ahead.after_at
    WHERE through_at > following."at"
),
effects AS (
    SELECT 'proved' AS bound, stream, committed_at, greatest("at", coalesce(idle_until, "at")) AS complete_at
    FROM following LEFT JOIN idle_proved USING (stream, "at")
    UNION ALL
    SELECT 'possible', stream, committed_at,
        greatest("at", coalesce(idle_proved.idle_until, "at"), coalesce(idle_merged.idle_until, "at"))
    FROM following LEFT JOIN idle_proved USING (stream, "at") LEFT JOIN idle_merged USING (stream, "at")
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
