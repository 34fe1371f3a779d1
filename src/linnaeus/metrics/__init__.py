"""Scores from arrays: no model, no files."""
