"""The page a person reads: rendering only."""
