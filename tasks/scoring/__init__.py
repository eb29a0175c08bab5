"""Official metrics and the averages of scores."""
