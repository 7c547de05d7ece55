"""Restores that this host receives."""
