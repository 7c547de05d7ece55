-- The view audit that a user's SQL sees, over the view events (user_views.sql).
-- Columns: at, committed_at (TIMESTAMPTZ), node, what, who, details (JSON text). Halves of surrogate pairs, which older
-- records have for bytes that are no UTF-8, are left out: DuckDB takes a text that has one for no JSON.
CREATE VIEW audit AS
SELECT "at", committed_at, split_part(address, '/', 2) AS node, json_extract_string(told, '$.what') AS what,
    json_extract_string(told, '$.who') AS who, json_extract(told, '$.details')::VARCHAR AS details
FROM (
    SELECT "at", committed_at, address, CASE WHEN json_valid(payload) THEN payload ELSE regexp_replace(payload,
        '(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\ud[89a-f][0-9a-f]{2}', '\1', 'g') END AS told
    FROM events
    WHERE kind = 'record' AND starts_with(address, '_audit/')
);
