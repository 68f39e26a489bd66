"""Honest numbers: metrics, unbiased scores without a clean picture, baselines, the benchmark."""
