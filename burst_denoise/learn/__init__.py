"""Bursts become a model."""
