"""What a frame is: units, geometry, noise, scores, and a synthetic camera. Knows no file format."""
