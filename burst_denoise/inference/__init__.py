"""From a model and a frame to a clean frame."""
