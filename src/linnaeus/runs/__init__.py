"""Several finished runs: together, averaged, compared, scored again."""
