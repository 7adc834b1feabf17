"""What to make of several results: comparisons."""
