"""What the agent keeps on disk: the record of the tree, the spool of batches."""
