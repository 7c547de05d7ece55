"""Filling on demand behind a FUSE mount that passes everything else through."""
