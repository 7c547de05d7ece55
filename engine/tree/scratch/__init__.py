"""Scratch: a restore to a place of its own, to look at and to check; promoted, the very bytes take their place."""
