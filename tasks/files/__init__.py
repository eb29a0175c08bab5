"""Official files: where they lie, how they are read, and whether they are what was published."""
