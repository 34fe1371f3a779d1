"""One run: read, plan, train, judge, write."""
