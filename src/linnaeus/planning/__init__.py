"""From what the data is to how it will be trained, each decision with its reason."""
