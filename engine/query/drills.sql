-- Records of drills in {streams}, quoted ids of audit streams, with topics {acts}, over {segments}.
-- Columns: at (microseconds), payload (JSON), lsn; by at.
SELECT DISTINCT "at", payload, lsn
FROM {segments}
WHERE stream IN ({streams}) AND kind = 5 AND mark IN ({acts})
ORDER BY "at", lsn
