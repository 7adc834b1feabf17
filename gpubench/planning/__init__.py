"""What to make of several results: comparisons, and what to rent."""
