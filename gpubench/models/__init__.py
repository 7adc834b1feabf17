"""Loads models: one file for each family. `gpubench/registry.py` has the names of the models."""
