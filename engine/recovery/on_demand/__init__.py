"""Recovery on demand from the journal on this machine: the tree is there at once, its bytes come when they are read."""
