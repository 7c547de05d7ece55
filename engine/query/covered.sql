-- How many bytes of data the events of each file bring, holes left out; where they overlap they count twice.
-- Columns: file_id, bytes.
SELECT subject AS file_id, sum("length")::BIGINT AS bytes
FROM {events}
WHERE kind = 3 AND pack IS NOT NULL
GROUP BY subject
