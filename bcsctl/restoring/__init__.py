"""What `bcsctl restore` does, a module for each way."""
