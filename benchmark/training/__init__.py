"""Optimisers, train steps, the fit loop and checkpoints."""
