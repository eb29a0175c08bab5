"""Losses, recipes and the schedule that moves knowledge from teacher to student."""
