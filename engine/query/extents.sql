-- The extents of files as of a position, cut at the file's size; of several for one range the latest.
-- `island` numbers a file's groups of extents that overlap; `crowd` counts the extents of the group. Most files have one
-- extent, which needs no looking at the others.
-- Columns: file_id, offset (bytes), ends (byte behind the last), length (bytes of it before the end of the file),
-- skip (0), extent_length (bytes), lsn, pack, frame (bytes), frame_bytes, data_skip (bytes in the opened frame), hash,
-- island, crowd; by file_id, offset, lsn.
WITH sizes AS (
    SELECT subject AS file_id, size
    FROM {events}
    WHERE kind = 2 {of_files}
    QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
),
cut AS MATERIALIZED (
    SELECT e.subject AS file_id, e."offset", least(e."offset" + e."length", s.size) AS ends,
        ends - e."offset" AS "length", 0::BIGINT AS skip, e."length" AS extent_length, e.lsn, e.pack, e.frame, e.frame_bytes, e.skip AS data_skip, e.hash
    FROM {events} e JOIN sizes s ON s.file_id = e.subject
    WHERE e.kind = 3 AND e."offset" < s.size {of_files}
),
several AS MATERIALIZED (SELECT file_id FROM cut GROUP BY file_id HAVING count(*) > 1),
latest AS (
    SELECT * FROM cut SEMI JOIN several USING (file_id)
    QUALIFY row_number() OVER (PARTITION BY file_id, "offset", ends ORDER BY lsn DESC) = 1
),
begins AS (
    SELECT *, coalesce("offset" >= max(ends) OVER (
        PARTITION BY file_id ORDER BY "offset", lsn ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), true) AS begins
    FROM latest
),
islands AS (
    SELECT * EXCLUDE (begins), sum(begins::INTEGER) OVER (
        PARTITION BY file_id ORDER BY "offset", lsn ROWS UNBOUNDED PRECEDING
    ) AS island
    FROM begins
)
SELECT *, count(*) OVER (PARTITION BY file_id, island) AS crowd
FROM islands
UNION ALL
SELECT *, 1 AS island, 1 AS crowd
FROM cut ANTI JOIN several USING (file_id)
ORDER BY file_id, "offset", lsn
