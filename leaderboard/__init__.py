"""The leaderboard: result records in, one self-contained page with a table and a Pareto plot out."""
