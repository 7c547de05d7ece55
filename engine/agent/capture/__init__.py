"""Looking at the tree, and what differs from the record as events."""
