"""Fine-tuning, prediction and aggregation of scores."""
