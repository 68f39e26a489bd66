"""Whole jobs, from files to products: one file a command."""
