"""What loads a model: one file a family. `gpubench/registry.py` has their names."""
