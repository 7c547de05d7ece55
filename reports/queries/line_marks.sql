-- The marks of each source's history as it was at each time: a recovery left a part of it behind, which counts up to
-- then. What an older epoch wrote of later times is not among them.
-- Columns: as in marks; times in microseconds; by stream, at, lsn.
SELECT marks.*
FROM marks
JOIN sources USING (stream)
JOIN spans ON spans.stream = marks.stream AND spans.epoch = marks.epoch
    AND marks.lsn BETWEEN spans.lsn_first AND spans.lsn_last AND marks."at" < spans.until_at
ORDER BY marks.stream, marks."at", marks.lsn
