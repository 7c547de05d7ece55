-- Makes table {table}: the marks of one stream along one lineage, from its events {events}.
-- Columns: epoch, lsn, at (microseconds of site time), committed_at (microseconds of the node's time), mark (its
-- kind), label, point_class, gap_from (microseconds).
CREATE OR REPLACE TABLE {table} AS
SELECT epoch, lsn, "at", committed_at, mark, label, point_class, gap_from
FROM {events}
WHERE kind = 4
QUALIFY row_number() OVER (PARTITION BY lsn) = 1
ORDER BY lsn
