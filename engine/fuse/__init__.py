"""A file system of our own behind the kernel's FUSE device: the protocol, mounting, serving."""
