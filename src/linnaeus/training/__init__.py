"""From batches to weights: runtime, optimizers, the loop, checkpoints."""
