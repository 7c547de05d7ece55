"""The journal: commit, read, merge, check. Everything a site keeps, in one object store."""
