-- What the agent knows of the tree and of what it has sent. Times in nanoseconds as stat(2) has them, sizes in bytes.
-- `lsn` is the event that last said something of the row: what the node turns out not to have is found by it.

CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- mode is st_mode whole; size st_size as it is; ctime_ns -1 when the file was so young that a later change may hide
-- behind the same time; size -1 when what the node has is unknown.
CREATE TABLE IF NOT EXISTS inodes (
    file_id INTEGER PRIMARY KEY, lsn INTEGER NOT NULL, dev INTEGER, ino INTEGER, mode INTEGER, uid INTEGER, gid INTEGER,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, rdev INTEGER, target BLOB, xattrs BLOB
);
CREATE INDEX IF NOT EXISTS inodes_by_number ON inodes (ino, dev);

-- file_id NULL: unlinked, kept until the node has acknowledged it; -1: the node may know this name, nobody knows as what.
CREATE TABLE IF NOT EXISTS names (
    parent INTEGER NOT NULL, name BLOB NOT NULL, file_id INTEGER, lsn INTEGER NOT NULL, PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_file ON names (file_id);

-- Digests of the 8 KiB blocks of a file, 512 blocks a chunk, 16 bytes each; zeros for a hole. key: the first 64 bits of
-- them, where the chunk may be referred to; placed: with which events its bytes came (engine/agent/capture/copies.py).
CREATE TABLE IF NOT EXISTS blocks (
    file_id INTEGER NOT NULL, chunk INTEGER NOT NULL, lsn INTEGER NOT NULL, digests BLOB NOT NULL,
    key INTEGER, placed BLOB, PRIMARY KEY (file_id, chunk)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks_by_key ON blocks (key) WHERE key IS NOT NULL;

-- Batches made and not yet known to be acknowledged. segment -1: not in the spool. at: site time, microseconds.
CREATE TABLE IF NOT EXISTS batches (
    lsn_last INTEGER PRIMARY KEY, lsn_first INTEGER NOT NULL, hash BLOB NOT NULL, at INTEGER NOT NULL,
    through_at INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL
);
