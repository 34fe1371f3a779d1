"""A finished model at work: prediction on new images."""
