"""Pure nouns. Nothing here reads a clock, a file or a network, and nothing imports a third party."""
