-- What the events up to a baseline describe, {events} being those of one stream up to its baseline's mark.
-- Columns: events (count), files (count), bytes (logical).
WITH files AS (
    SELECT size FROM {events}
    WHERE kind = 2 AND "type" = ord('f')
    QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
)
SELECT (SELECT count(DISTINCT lsn) FROM {events}) AS events, count(*) AS files, coalesce(sum(size), 0)::BIGINT AS bytes
FROM files
