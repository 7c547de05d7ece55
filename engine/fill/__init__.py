"""A tree that is there at once, and filled when it is read: the skeleton, the map of what is cold, what fills it."""
