-- Every recovery point of the sources, of all time: ends of passes from the first baseline on.
-- Columns: stream, epoch, lsn, at (site time, microseconds), committed_at (node's time, microseconds), point_class;
-- by stream, lsn.
WITH begun AS (
    SELECT stream, min(lsn) AS lsn FROM line_marks WHERE mark = 'baseline' GROUP BY stream
)
SELECT stream, epoch, line_marks.lsn, "at", committed_at, coalesce(nullif(point_class, ''), 'fuzzy') AS point_class
FROM line_marks
JOIN begun USING (stream)
WHERE mark IN ('pass', 'baseline') AND line_marks.lsn >= begun.lsn
ORDER BY stream, lsn
