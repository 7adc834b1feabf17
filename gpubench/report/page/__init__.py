"""One HTML page with the answer first, then charts and tables (docs/page.md)."""
