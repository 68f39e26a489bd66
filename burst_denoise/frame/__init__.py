"""One exposure: its photosites, its colour filter array, and a camera that simulates it."""
