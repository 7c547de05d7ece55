-- What agents said they could not read, up to a position: the last word on each path, from the events {events}.
-- Columns: lsn, at (microseconds of site time), payload (JSON: path as it is written for the eye, errno, reason).
SELECT lsn, "at", payload
FROM {events}
WHERE kind = 5 AND mark = 'unreadable'
QUALIFY row_number() OVER (PARTITION BY lsn) = 1
ORDER BY lsn
