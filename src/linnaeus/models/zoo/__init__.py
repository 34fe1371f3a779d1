"""Networks of our own, one architecture per file."""
