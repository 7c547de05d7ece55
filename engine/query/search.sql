-- Files that were there at some recovery point, deleted ones too: one row for each stay of a file at a name.
-- {events} are those of one lineage, {points} its points (line_points.sql); {names} narrows by name_text, before
-- anything is worked out; {condition} by path_text, size, at_first, at_last, file_id, type, gone, begins, lsn_last (of
-- the name and of the last point), described (LSN of the last attributes). A directory's own path is the last that it
-- had; what is below one that went is gone with it, though no event says so.
-- Columns: path, file_id, type (letter's code), mode, size (bytes), mtime_ns, epoch_first, lsn_first, at_first,
-- epoch_last, lsn_last, at_last (the first and the last point that hold it there; microseconds), gone (boolean);
-- by path and lsn_first, at most $count rows.
WITH RECURSIVE
stays AS MATERIALIZED (
    SELECT subject AS parent, name, file_id, lsn AS begins,
        coalesce(lead(lsn) OVER (PARTITION BY subject, name ORDER BY lsn), 1::UBIGINT << 62) AS ends
    FROM (SELECT DISTINCT subject, name, file_id, lsn FROM {events} WHERE kind = 1)
),
named AS MATERIALIZED (
    SELECT * FROM (SELECT *, coalesce(TRY(decode(name)), name::VARCHAR) AS name_text FROM stays)
    WHERE file_id IS NOT NULL AND {names}
),
-- Each directory has one last place, so the walk down from the root ends.
places AS MATERIALIZED (
    SELECT file_id, arg_max(parent, begins) AS parent, arg_max(name, begins) AS name, arg_max(ends, begins) AS ends
    FROM stays
    WHERE file_id > 0 AND file_id IN (SELECT subject FROM {events} WHERE kind = 2 AND "type" = ord('d'))
    GROUP BY file_id
),
directories(file_id, path, ends) AS (
    SELECT 0::UBIGINT, ''::BLOB, 1::UBIGINT << 62
    UNION ALL
    SELECT places.file_id, directories.path || '/'::BLOB || places.name, least(places.ends, directories.ends)
    FROM directories JOIN places ON places.parent = directories.file_id
),
standing AS (
    SELECT n.* REPLACE (least(n.ends, d.ends) AS ends), d.path || '/'::BLOB || n.name AS path
    FROM named n JOIN directories d ON d.file_id = n.parent
),
first_points AS (
    SELECT s.*, p.epoch AS epoch_first, p.lsn AS lsn_first, p."at" AS at_first
    FROM standing s ASOF JOIN {points} p ON p.lsn >= s.begins
),
held AS MATERIALIZED (
    SELECT f.*, p.epoch AS epoch_last, p.lsn AS lsn_last, p."at" AS at_last
    FROM first_points f ASOF JOIN {points} p ON p.lsn < f.ends
    WHERE f.lsn_first < f.ends
),
inodes AS (
    SELECT subject AS file_id, lsn, "type", mode, size, mtime_ns FROM {events}
    WHERE kind = 2 AND subject IN (SELECT file_id FROM held)
),
described AS (
    SELECT h.*, i."type", i.mode, i.size, i.mtime_ns, i.lsn AS described
    FROM held h ASOF JOIN inodes i ON i.file_id = h.file_id AND i.lsn <= h.lsn_last
),
placed AS (
    SELECT t.*, coalesce(TRY(decode(t.path)), t.path::VARCHAR) AS path_text,
        t.lsn_last < (SELECT max(lsn) FROM {points}) AS gone
    FROM described t
)
SELECT path, file_id, "type", mode, size, mtime_ns, epoch_first, lsn_first, at_first, epoch_last, lsn_last, at_last,
    gone
FROM placed
WHERE {condition}
ORDER BY path, lsn_first
LIMIT $count
