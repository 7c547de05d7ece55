-- The sources that the report speaks of: every stream that a policy named or that the journal has, audit streams
-- aside. A source that was renamed stands under its newest address.
-- Columns: stream (id), address, in_journal (whether anything of it ever arrived); by address.
WITH named AS (
    SELECT stream, arg_max(address, number) AS address
    FROM policy_sources
    GROUP BY stream
)
SELECT stream, coalesce(named.address, streams.address) AS address, streams.stream IS NOT NULL AS in_journal
FROM named FULL JOIN streams USING (stream)
WHERE NOT starts_with(coalesce(named.address, streams.address), '_')
  AND (SELECT only_group IS NULL OR only_group = split_part(coalesce(named.address, streams.address), '/', 1)
       FROM period)
ORDER BY address
