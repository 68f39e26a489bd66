"""From files to accepted bursts: grouping, quality checks, darks and flats, storing."""
