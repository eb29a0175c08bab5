"""Official files: their places, their readers, and their comparison with the published ones."""
