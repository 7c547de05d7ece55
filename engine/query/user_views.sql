-- The views that a user's SQL sees, over {segments} (rows of engine.format.schema.EVENTS) and the tables streams,
-- points and commits, which are there already. Times are TIMESTAMPTZ, sizes and offsets bytes.
--
-- events: address, stream, epoch, lsn, at, committed_at, kind (dentry, inode, extent, mark, record), parent, name
--   (as text, bytes that are no UTF-8 as \xFF), name_bytes, file_id, type (letter), mode, uid, gid, size, mtime,
--   target, "offset", length, pack, hash, mark, label, class, gap_from, payload (JSON text)
CREATE VIEW events AS
SELECT s.address, e.stream, e.epoch, e.lsn, make_timestamptz(e."at") AS "at",
    make_timestamptz(e.committed_at) AS committed_at,
    CASE e.kind WHEN 1 THEN 'dentry' WHEN 2 THEN 'inode' WHEN 3 THEN 'extent' WHEN 4 THEN 'mark' ELSE 'record' END
        AS kind,
    CASE WHEN e.kind = 1 THEN e.subject END AS parent,
    coalesce(TRY(decode(e.name)), e.name::VARCHAR) AS name, e.name AS name_bytes,
    CASE WHEN e.kind = 1 THEN e.file_id WHEN e.kind IN (2, 3) THEN e.subject END AS file_id,
    chr(e."type"::INTEGER) AS "type", e.mode, e.uid, e.gid, e.size, make_timestamptz(e.mtime_ns // 1000) AS mtime,
    CASE WHEN e."type" = ord('l') THEN coalesce(TRY(decode(e.target)), e.target::VARCHAR) END AS target,
    e."offset", e."length", e.pack, hex(e.hash) AS hash, e.mark, e.label, e.point_class AS class,
    CASE WHEN e.mark = 'gap' THEN make_timestamptz(e.gap_from) END AS gap_from, e.payload
FROM {segments} e LEFT JOIN streams s ON s.stream = e.stream;
