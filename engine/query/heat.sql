-- How often the bytes of each file were written, and when last.
-- Columns: file_id, count, at (µs).
SELECT subject AS file_id, count(*) AS "count", max("at") AS "at"
FROM {events}
WHERE kind = 3
GROUP BY subject
