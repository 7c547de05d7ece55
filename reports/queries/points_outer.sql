-- Each source's first and newest recovery point, of all time.
-- Columns: stream, which ('first' or 'newest'), epoch, lsn, at (site time, microseconds), point_class; by stream, at.
SELECT stream, 'first' AS which, epoch, lsn, "at", point_class
FROM points
QUALIFY row_number() OVER (PARTITION BY stream ORDER BY "at", lsn) = 1
UNION ALL
SELECT stream, 'newest', epoch, lsn, "at", point_class
FROM points
QUALIFY row_number() OVER (PARTITION BY stream ORDER BY "at" DESC, lsn DESC) = 1
ORDER BY stream, "at", lsn, which
