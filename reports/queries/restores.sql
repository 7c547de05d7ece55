-- Restores made in the period, promotions among them, and what they verified.
-- Columns: made_at (microseconds), who, address, path (null for all of it), at, point, target (as recorded), files,
-- bytes, seconds, verified (true, false, or null for not said), read_back (whether the disk was read again; likewise),
-- failures (count, null for not said), host (that it was sent to, null for the machine that asked), error (why it did
-- not come to its end, null if it did), place ('in place', 'a tar stream', or 'directory', which target names), refused
-- (whether a guard refused it, so that nothing was begun); by made_at.
SELECT "at" AS made_at, who, address, json_extract_string(details, '$.path') AS path,
    json_extract_string(details, '$.at') AS "at",
    json_extract_string(details, '$.point') AS point, json_extract_string(details, '$.target') AS target,
    try_cast(json_extract_string(details, '$.files') AS BIGINT) AS files,
    try_cast(json_extract_string(details, '$.bytes') AS BIGINT) AS bytes,
    try_cast(json_extract_string(details, '$.seconds') AS DOUBLE) AS seconds,
    try_cast(json_extract_string(details, '$.verified') AS BOOLEAN) AS verified,
    try_cast(json_extract_string(details, '$.read_back') AS BOOLEAN) AS read_back,
    CASE json_type(details, '$.failures') WHEN 'ARRAY' THEN json_array_length(details, '$.failures')
         ELSE try_cast(json_extract_string(details, '$.failures') AS BIGINT) END AS failures,
    json_extract_string(details, '$.host') AS host, json_extract_string(details, '$.error') AS error,
    CASE WHEN try_cast(json_extract_string(details, '$.in_place') AS BOOLEAN) THEN 'in place'
         WHEN json_extract_string(details, '$.target') = '.' THEN 'a tar stream'
         ELSE 'directory' END AS place,
    coalesce(json_extract_string(details, '$.code') IN ('refused', 'not-authorised', 'unauthenticated'), false)
        AS refused
FROM acts
WHERE what IN ('restore', 'promote') OR starts_with(what, 'restore-')
ORDER BY made_at
