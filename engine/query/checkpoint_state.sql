-- What a checkpoint at LSN $lsn keeps of {events}, extents aside: the latest row of every name, tombstones among
-- them, and of every file that can be reached. A file newer than $lsn is kept in any case.
-- Columns: those of engine.format.schema.EVENTS; in no particular order.
WITH RECURSIVE
names AS MATERIALIZED (
    SELECT * FROM {events}
    WHERE kind = 1
    QUALIFY row_number() OVER (PARTITION BY subject, name ORDER BY lsn DESC) = 1
),
inodes AS MATERIALIZED (
    SELECT * FROM {events}
    WHERE kind = 2
    QUALIFY row_number() OVER (PARTITION BY subject ORDER BY lsn DESC) = 1
),
below AS MATERIALIZED (
    SELECT names.subject AS parent, names.file_id
    FROM names JOIN inodes ON inodes.subject = names.file_id
    WHERE inodes."type" = ord('d')
),
directories(file_id) AS (
    SELECT 0::UBIGINT
    UNION
    SELECT below.file_id FROM directories JOIN below ON below.parent = directories.file_id
),
reached AS (
    SELECT file_id FROM directories
    UNION
    SELECT names.file_id FROM names JOIN directories ON names.subject = directories.file_id
    WHERE names.file_id IS NOT NULL
)
SELECT * FROM names
UNION ALL
SELECT * FROM inodes WHERE subject IN (SELECT file_id FROM reached) OR subject > $lsn
