"""What a recovery keeps on disk: its documents, its files, which blocks are cold, how far files were cut."""
