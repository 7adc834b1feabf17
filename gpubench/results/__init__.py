"""The documents and files that hold what was measured."""
