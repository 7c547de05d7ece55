-- The extents in {events} of the files that {state} keeps, of several for one range the latest, with the groups that
-- overlap: `island` numbers a file's groups, `crowd` counts the extents of the group. Files newer than $lsn count.
-- Columns: those of engine.format.schema.EVENTS, then ends (byte behind the last), island, crowd.
WITH latest AS (
    SELECT *, "offset" + "length" AS ends
    FROM {events}
    WHERE kind = 3 AND (subject IN (SELECT subject FROM {state} WHERE kind = 2) OR subject > $lsn)
    QUALIFY row_number() OVER (PARTITION BY subject, "offset", "length" ORDER BY lsn DESC) = 1
),
begins AS (
    SELECT *, coalesce("offset" >= max(ends) OVER (
        PARTITION BY subject ORDER BY "offset", lsn ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), true) AS begins
    FROM latest
),
islands AS (
    SELECT * EXCLUDE (begins), sum(begins::INTEGER) OVER (
        PARTITION BY subject ORDER BY "offset", lsn ROWS UNBOUNDED PRECEDING
    ) AS island
    FROM begins
)
SELECT *, count(*) OVER (PARTITION BY subject, island) AS crowd
FROM islands
