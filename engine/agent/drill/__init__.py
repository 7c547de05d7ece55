"""Drills on this host: what a node sends is made, looked at by what the applied policy says, and taken away again."""
