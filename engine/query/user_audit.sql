-- The view audit that a user's SQL sees, over the view events (user_views.sql).
-- Columns: at, committed_at (TIMESTAMPTZ), node, what, who, details (JSON text).
CREATE VIEW audit AS
SELECT "at", committed_at, split_part(address, '/', 2) AS node, json_extract_string(payload, '$.what') AS what,
    json_extract_string(payload, '$.who') AS who, json_extract(payload, '$.details')::VARCHAR AS details
FROM events
WHERE kind = 'record' AND starts_with(address, '_audit/');
