"""A tree as it was beside the disk as it is now: what differs, and what of a file's lines."""
