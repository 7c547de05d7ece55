"""How bytes come into files: on demand, hot ones first, the rest in the background."""
