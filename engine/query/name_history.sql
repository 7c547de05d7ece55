-- When $name in directory $parent led where, and everything that happened to its inodes is another query's matter.
-- Columns: lsn, at (microseconds), file_id (null when unlinked); by lsn.
SELECT lsn, any_value("at") AS "at", any_value(file_id) AS file_id
FROM {events}
WHERE kind = 1 AND subject = $parent AND name = $name
GROUP BY lsn
ORDER BY lsn
