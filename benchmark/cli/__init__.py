"""Command lines and gin: flags and gin files in, a configuration out."""
