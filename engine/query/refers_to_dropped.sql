-- How many files that {checkpoint} (at LSN $lsn) does not describe are spoken of in {later}.
-- A file_id is the LSN that introduced it, so a higher one than $lsn is simply newer.
-- Columns: files (count).
WITH spoken AS (
    SELECT DISTINCT CASE WHEN kind = 1 THEN file_id ELSE subject END AS file_id
    FROM {later}
    WHERE kind IN (1, 2, 3)
)
SELECT count(*) AS files
FROM spoken
WHERE file_id > 0 AND file_id <= $lsn
  AND file_id NOT IN (SELECT subject FROM {checkpoint} WHERE kind = 2)
