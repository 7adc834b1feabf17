"""Services that start workers: one file for each."""
