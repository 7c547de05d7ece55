"""Where something changed: the kernel's hints, gathered as names to look at. What changed, capture finds out."""
