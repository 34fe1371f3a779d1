"""Intervals, resampling, paired tests and slices: arrays in, numbers out. Knows nothing of models or files."""
