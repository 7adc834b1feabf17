"""What makes a model ready for a runtime: one file a runtime.

`gpubench/registry.py` has their names."""
