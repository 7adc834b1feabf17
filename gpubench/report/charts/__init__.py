"""The charts of results: one description of each, for the page, for files and for notebooks."""
