"""The life of a recovery: begun, guarded by a supervisor, filled by a process, begun again, ended."""
