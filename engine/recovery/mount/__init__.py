"""A read-only file system of any moment: GROUP/HOST/SOURCE/<time>/… for every tool that can read a file."""
