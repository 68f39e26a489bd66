"""Experiments around the package: measurements, the training of the prior, and the earlier systems in one table."""
