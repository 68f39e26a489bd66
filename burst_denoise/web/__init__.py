"""A page to try the denoiser on: one shot or burst, before and after, on this machine alone."""
