"""What a difference between scores means: noise of examples and seeds, intervals, comparisons."""
