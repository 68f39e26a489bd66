"""Whole jobs, from files to products."""
