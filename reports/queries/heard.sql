-- Until when each source can be judged. Word of the last moments before the report may still be on its way, so
-- they are left open for `grace`; who has been silent for longer is judged by that silence.
-- Columns: stream, heard_at (the newest moment known of, null for none), judged_until (microseconds); by stream.
WITH word AS (
    SELECT stream, max(complete_at) AS heard_at FROM complete WHERE bound = 'proved' GROUP BY stream
)
SELECT stream, heard_at, least(to_at, greatest(coalesce(heard_at, 0), now - grace)) AS judged_until
FROM sources LEFT JOIN word USING (stream) CROSS JOIN period
ORDER BY stream
