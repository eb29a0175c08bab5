"""Optimisers, train steps, the fit loop, checkpoints; pretraining and fine-tuning."""
