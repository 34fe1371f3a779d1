"""Scores with intervals, from predictions."""
