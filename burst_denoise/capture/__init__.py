"""Files become accepted bursts: reading, grouping, quality checks, storing."""
