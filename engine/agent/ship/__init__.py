"""Batches on their way to the node."""
