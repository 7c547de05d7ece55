"""Which bytes of a file may have changed, so that a big file need not be read whole for a small write."""
