-- What was written to the files {files} (a relation with file_id), along one lineage's events {events}.
-- Columns: file_id, lsn, kind (2 inode, 3 extent), type (letter's code), mode, size (bytes), mtime_ns, offset, length
-- (bytes), pack, frame, frame_bytes, skip, hash; by file_id and lsn.
SELECT DISTINCT subject AS file_id, lsn, kind, "type", mode, size, mtime_ns, "offset", "length", pack, frame,
    frame_bytes, skip, hash
FROM {events}
WHERE kind IN (2, 3) AND subject IN (SELECT file_id FROM {files})
ORDER BY file_id, lsn
