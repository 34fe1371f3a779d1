"""Which images train, which choose, which test; folds; and the order of an epoch."""
