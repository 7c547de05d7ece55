"""What the journal's objects look like: names, documents, sealed packs, Arrow tables. Nothing here reads a store."""
