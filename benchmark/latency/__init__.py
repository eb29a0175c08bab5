"""Latency measured on this machine."""
