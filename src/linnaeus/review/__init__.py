"""The review: a local page where a person puts labels right, or gives them to new images."""
