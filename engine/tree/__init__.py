"""A file tree with full fidelity: read, walk, apply, compare. Paths are bytes; no third party is imported."""
