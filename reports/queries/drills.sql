-- Drills made in the period: what came back, what was measured, and the evidence that the audit keeps.
-- Columns: at (of its end, microseconds), group_name, id (of the evidence), drill (its place among the group's drills,
-- null for one that no policy asked for), who, policy (number), asked (the moment in words), moment (text, null for a
-- point or mark), passed, reason (why not), checks (how many), rto_seconds, rto_target_seconds, rpo_seconds,
-- rpo_target_seconds (null for not measured, or nothing promised), files, bytes, seconds, host, on_demand (what
-- became of trees that were used while they were cold, null for a restore), failed_checks (JSON, a list of what the
-- evidence has of each); by at.
SELECT "at", json_extract_string(details, '$.group') AS group_name, json_extract_string(details, '$.id') AS id,
    try_cast(json_extract_string(details, '$.drill') AS BIGINT) AS drill, who,
    try_cast(json_extract_string(details, '$.policy.number') AS BIGINT) AS policy,
    json_extract_string(details, '$.asked') AS asked, json_extract_string(details, '$.moment') AS moment,
    coalesce(try_cast(json_extract_string(details, '$.passed') AS BOOLEAN), false) AS passed,
    coalesce(json_extract_string(details, '$.reason'), '') AS reason,
    try_cast(json_extract_string(details, '$.checks_count') AS BIGINT) AS checks,
    try_cast(json_extract_string(details, '$.rto_seconds') AS DOUBLE) AS rto_seconds,
    try_cast(json_extract_string(details, '$.rto_target_seconds') AS DOUBLE) AS rto_target_seconds,
    try_cast(json_extract_string(details, '$.rpo_seconds') AS DOUBLE) AS rpo_seconds,
    try_cast(json_extract_string(details, '$.rpo_target_seconds') AS DOUBLE) AS rpo_target_seconds,
    try_cast(json_extract_string(details, '$.files') AS BIGINT) AS files,
    try_cast(json_extract_string(details, '$.bytes') AS BIGINT) AS bytes,
    try_cast(json_extract_string(details, '$.seconds') AS DOUBLE) AS seconds,
    json_extract_string(details, '$.where.host') AS host,
    json_extract_string(details, '$.on_demand.afterwards') AS on_demand,
    to_json(list_filter(coalesce(json_extract(details, '$.checks[*]'), []),
        lambda one: json_extract_string(one, '$.passed') = 'false'))::VARCHAR AS failed_checks
FROM acts
WHERE what = 'drill'
ORDER BY "at", id
