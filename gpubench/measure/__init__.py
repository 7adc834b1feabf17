"""Measures cells and makes their results. No other folder writes measurements."""
