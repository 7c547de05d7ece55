-- Each source's first baseline, whenever it was.
-- Columns: stream, at (its end, site time, microseconds), committed_at (microseconds), files, bytes (logical; null
-- when its events are no longer kept one by one).
SELECT stream, "at", committed_at, files, bytes
FROM line_marks
LEFT JOIN baseline_sizes USING (stream, lsn)
WHERE mark = 'baseline'
QUALIFY row_number() OVER (PARTITION BY stream ORDER BY line_marks.lsn) = 1
ORDER BY stream
