"""Builds engines: one file for each runtime. `gpubench/registry.py` has the names of runtimes."""
