"""Masked-LM accuracy, predictions of tasks, and scores."""
