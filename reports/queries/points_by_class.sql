-- Recovery points of the period by class.
-- Columns: stream, point_class, points (count), first_at, last_at (site time, microseconds); by stream, strongest
-- class first.
SELECT stream, point_class, count(*) AS points, min("at") AS first_at, max("at") AS last_at
FROM points, period
WHERE "at" >= period.from_at AND "at" < period.to_at
GROUP BY stream, point_class
ORDER BY stream, list_position(['application', 'crash', 'quiet', 'fuzzy'], point_class), point_class
