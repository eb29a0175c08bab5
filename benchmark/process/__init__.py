"""Settings of a whole process: numerics, compiled programs, memory."""
