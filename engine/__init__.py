"""The engine: everything that protects and recovers, without a face."""
