-- What the drills made of each group that policies named in the period, from moment to moment: 'passed', or unproven by
-- a drill that 'failed', is 'stale' (older than the policy asks), 'void' (the policy has changed since), was 'never'
-- made; 'none' where no policy asked for one.
-- Columns: group_name, state and reason at the end, every (how often the policy asked for a drill then, microseconds,
-- null for none), made, passed, failed (drills in the period), lasting_passed, lasting_failed, lasting_stale,
-- lasting_void, lasting_never (microseconds of the period); by group_name.
WITH lasting AS (
    SELECT group_name, arg_max(state, from_at) AS state, arg_max(reason, from_at) AS reason,
        arg_max(coalesce(every, 0), from_at) AS every,
        coalesce(sum(to_at - from_at) FILTER (state = 'passed'), 0) AS lasting_passed,
        coalesce(sum(to_at - from_at) FILTER (state = 'failed'), 0) AS lasting_failed,
        coalesce(sum(to_at - from_at) FILTER (state = 'stale'), 0) AS lasting_stale,
        coalesce(sum(to_at - from_at) FILTER (state = 'void'), 0) AS lasting_void,
        coalesce(sum(to_at - from_at) FILTER (state = 'never'), 0) AS lasting_never
    FROM proof_spans
    GROUP BY group_name
),
counted AS (
    SELECT group_name, count(*) AS made, count(*) FILTER (passed) AS passed, count(*) FILTER (NOT passed) AS failed
    FROM drills
    GROUP BY group_name
)
SELECT group_name, state, reason, nullif(every, 0) AS every, coalesce(made, 0) AS made, coalesce(passed, 0) AS passed,
    coalesce(failed, 0) AS failed, lasting_passed, lasting_failed, lasting_stale, lasting_void, lasting_never
FROM lasting
LEFT JOIN counted USING (group_name)
ORDER BY group_name
