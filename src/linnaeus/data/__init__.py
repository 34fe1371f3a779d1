"""From files to batches: sources, manifest, split, decode, cache, loader."""
