"""What predictions are worth: settled values, scores with intervals, and what ships of them."""
