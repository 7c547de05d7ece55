-- Of {events}, those of one stream within {spans}: when the last one came that is no mark.
-- Columns: at (microseconds of site time), null when there is none.
SELECT max_by("at", lsn)
FROM {events}
WHERE stream = $stream AND kind IN ($dentry, $inode, $extent) AND ({spans})
