"""Token arrays on disk: reading, writing."""
