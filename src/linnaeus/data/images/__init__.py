"""From an encoded file, a scene or an array to pixels."""
