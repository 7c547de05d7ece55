-- Restores that came to their end, of an audit stream's events {events}.
-- Columns: at (microseconds), payload (JSON: what, who, details); by at.
SELECT "at", any_value(payload) AS payload
FROM {events}
WHERE kind = 5 AND mark = 'restore'
GROUP BY lsn, "at"
ORDER BY "at"
