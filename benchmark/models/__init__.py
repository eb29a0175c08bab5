"""The encoder family, its heads, and closed formulas for its size and cost."""
