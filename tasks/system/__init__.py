"""Processes, locks, files, messages: standard library only, for every other module."""
