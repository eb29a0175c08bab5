"""Overlap of evaluated examples with training data, by equality of normalised text."""
