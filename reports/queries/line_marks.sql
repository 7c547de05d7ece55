-- The marks on each source's current lineage. What was written on a branch that was left is not among them.
-- Columns: as in marks; times in microseconds; by stream, lsn.
SELECT marks.*
FROM marks
JOIN sources USING (stream)
JOIN spans ON spans.stream = marks.stream AND spans.epoch = marks.epoch
    AND marks.lsn BETWEEN spans.lsn_first AND spans.lsn_last
ORDER BY marks.stream, marks.lsn
