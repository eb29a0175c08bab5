"""The stages of a run, one module for each, and what runs them in order."""
