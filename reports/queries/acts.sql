-- The audit records of the period, of all nodes, with the source that each is about where its details name one.
-- Columns: at (microseconds), node, what, who, address (null for none), details (JSON); by at.
-- Halves of surrogate pairs, which records of before have for bytes that are no UTF-8, are left out of texts: DuckDB
-- takes a text that has one for no JSON.
WITH whole AS (
    SELECT * REPLACE (CASE WHEN json_valid(payload) THEN payload ELSE regexp_replace(payload,
        '(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\ud[89a-f][0-9a-f]{2}', '\1', 'g') END AS payload)
    FROM records
), own AS (
    SELECT whole."at", split_part(streams.address, '/', 2) AS node, topic AS what,
        json_extract_string(payload, '$.who') AS who,
        json_extract_string(payload, '$.details.address') AS named,
        json_extract_string(payload, '$.details.stream') AS stream,
        json_extract_string(payload, '$.details.group') AS of_group,
        json_extract(payload, '$.details') AS details, lsn
    FROM whole
    JOIN streams USING (stream)
    CROSS JOIN period
    WHERE starts_with(streams.address, '_audit/') AND json_valid(payload)
      AND whole."at" >= period.from_at AND whole."at" < period.to_at
)
SELECT own."at", node, what, coalesce(who, '') AS who, coalesce(sources.address, own.named) AS address, details
FROM own
LEFT JOIN sources ON sources.stream = own.stream OR sources.address = own.named
CROSS JOIN period
WHERE only_group IS NULL
   OR only_group = coalesce(split_part(coalesce(sources.address, own.named), '/', 1), own.of_group, only_group)
ORDER BY own."at", node, lsn
