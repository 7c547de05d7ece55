"""What is the matter at a site, and who is told of it."""
