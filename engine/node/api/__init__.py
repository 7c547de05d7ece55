"""What a node answers over HTTP: routes, each over the part that does the work."""
