"""Search space, suggestion algorithms, the trial loop and Pareto arithmetic."""
