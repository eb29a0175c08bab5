"""Latency: measured on this machine, or estimated for a chip described by data."""
