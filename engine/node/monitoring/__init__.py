"""How a site is, for people and for monitoring systems."""
