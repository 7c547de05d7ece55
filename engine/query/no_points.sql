-- An empty relation in the shape of line_points.sql. Times in microseconds.
CREATE TABLE IF NOT EXISTS no_points (
    epoch UINTEGER, lsn UBIGINT, "at" BIGINT, committed_at BIGINT, point_class VARCHAR, label VARCHAR
)
