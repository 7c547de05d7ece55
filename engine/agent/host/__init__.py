"""Who this host is, where its nodes are, what time it is there."""
