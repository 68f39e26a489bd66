"""Many shots: which they are, and where their results go."""
