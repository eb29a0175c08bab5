"""Processes, locks, files and messages, for every other module; standard library only."""
