"""Descriptions of tasks for the command line."""
