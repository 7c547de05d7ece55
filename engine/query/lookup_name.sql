-- What $name in directory $parent leads to.
-- Columns: file_id (null when unlinked). No row when the name was never there.
SELECT file_id
FROM {events}
WHERE kind = 1 AND subject = $parent AND name = $name
ORDER BY lsn DESC
LIMIT 1
