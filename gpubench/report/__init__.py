"""Results as tables and files for people. No file here imports torch or numpy."""
