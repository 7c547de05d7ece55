-- Gaps that touch the period: intervals in which changes may have been missed.
-- Columns: stream, from_at, to_at (site time, microseconds), closed_at (when the catch-up that closed it was
-- durable, microseconds: until then a loss would have cost everything since from_at), reason; by stream, from_at.
SELECT stream, gap_from AS from_at, "at" AS to_at, greatest(committed_at, "at") AS closed_at, label AS reason
FROM line_marks, period
WHERE mark = 'gap' AND gap_from < period.to_at AND greatest(committed_at, "at") > period.from_at
ORDER BY stream, gap_from, lsn
