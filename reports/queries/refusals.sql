-- What was refused in the period: by the nodes, and restores by a guard (those stand under restores too). Beyond a number a minute only their count was recorded ('refused-more').
-- Columns: what, who, address (null when of no source), refusals (count), first_at, last_at (microseconds), example
-- (the reason that was last given); by what, who, address.
WITH refused AS (
    SELECT CASE WHEN what = 'refused-more' THEN json_extract_string(details, '$.what') ELSE what END AS what,
        CASE WHEN what = 'refused-more' THEN '' ELSE who END AS who, address, "at",
        CASE WHEN what = 'refused-more' THEN coalesce(try_cast(json_extract_string(details, '$.count') AS BIGINT), 0)
             ELSE 1 END AS refusals,
        json_extract_string(details, '$.error') AS reason
    FROM acts
    WHERE what LIKE '%refused%'
       OR ((what IN ('restore', 'promote') OR starts_with(what, 'restore-'))
           AND json_extract_string(details, '$.code') IN ('refused', 'not-authorised', 'unauthenticated'))
)
SELECT what, who, address, sum(refusals)::BIGINT AS refusals, min("at") AS first_at, max("at") AS last_at,
    arg_max(reason, "at") AS example
FROM refused
GROUP BY what, who, address
ORDER BY what, who, address NULLS FIRST
