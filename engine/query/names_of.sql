-- Every name that ever led to inode $file_id, with what it led to later.
-- Columns: parent, name, lsn, file_id (null when unlinked); by lsn.
WITH ever AS (SELECT DISTINCT subject, name FROM {events} WHERE kind = 1 AND file_id = $file_id)
SELECT DISTINCT e.subject AS parent, e.name, e.lsn, e.file_id
FROM {events} e JOIN ever ON e.subject = ever.subject AND e.name = ever.name
WHERE e.kind = 1
ORDER BY e.lsn
