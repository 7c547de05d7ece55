-- Extents with bytes by their LSNs, of one stream, of any epoch.
-- Columns: lsn, epoch, at (microseconds), file_id, offset, length (bytes), pack, frame, frame_bytes, skip (bytes), hash.
SELECT lsn, epoch, "at", subject, "offset", "length", pack, frame, frame_bytes, skip, hash
FROM {events}
WHERE kind = 3 AND stream = $stream AND pack IS NOT NULL AND lsn IN ({lsns})
