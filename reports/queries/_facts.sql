-- The tables that every report's queries read, filled by reports.facts. Times and durations in microseconds (times
-- since 1970, UTC); `at` is site time, `committed_at` and `applied_at` the node's.
CREATE TABLE period (from_at BIGINT, to_at BIGINT, now BIGINT, journal_from BIGINT, grace BIGINT, only_group VARCHAR);
CREATE TABLE policies (
    number BIGINT, applied_at BIGINT, applied_by VARCHAR, git_commit VARCHAR, dirty BOOLEAN, message VARCHAR
);
CREATE TABLE policy_sources (number BIGINT, stream VARCHAR, address VARCHAR, rpo BIGINT, retention VARCHAR);
CREATE TABLE streams (stream VARCHAR, address VARCHAR, created_at BIGINT);
-- What was written of each stream, once: until_at is when a recovery went on from a point before it, for what is of the
-- present history the end of all time.
CREATE TABLE spans (stream VARCHAR, epoch BIGINT, lsn_first BIGINT, lsn_last BIGINT, until_at BIGINT);
CREATE TABLE marks (
    stream VARCHAR, epoch BIGINT, lsn BIGINT, "at" BIGINT, committed_at BIGINT, mark VARCHAR, label VARCHAR,
    point_class VARCHAR, gap_from BIGINT
);
CREATE TABLE records (
    stream VARCHAR, epoch BIGINT, lsn BIGINT, "at" BIGINT, committed_at BIGINT, topic VARCHAR, payload VARCHAR
);
-- Up to when a stream was known to be complete, at various times: of merged segments as many as they keep.
CREATE TABLE watermarks (stream VARCHAR, through_at BIGINT);
-- How much longer a point of a merged segment may have been complete than the watermarks that were kept say.
CREATE TABLE forgotten (stream VARCHAR, committed_at_first BIGINT, committed_at_last BIGINT, lost BIGINT);
-- Files and bytes (logical) that a stream's first baseline described; a stream whose baseline has been compacted
-- away is not in it.
CREATE TABLE baseline_sizes (stream VARCHAR, lsn BIGINT, files BIGINT, bytes BIGINT);
-- What the drills made of each group, from moment to moment (reports.proof); `every`: how often one was asked for.
CREATE TABLE proof_spans (
    group_name VARCHAR, from_at BIGINT, to_at BIGINT, state VARCHAR, reason VARCHAR, every BIGINT
);
