"""A run without its work: shapes of its train steps, and compiling them for a target."""
