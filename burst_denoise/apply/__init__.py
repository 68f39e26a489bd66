"""A model and a new shot become a denoised file."""
