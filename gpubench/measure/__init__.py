"""Measuring: from a cell to a result. Nothing else writes measurements."""
