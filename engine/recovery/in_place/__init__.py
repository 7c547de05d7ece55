"""Restores in place: what differs between two moments of one history, and nothing else."""
