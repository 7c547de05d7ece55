"""The faces: the command line. Parse, call one engine function, render."""
