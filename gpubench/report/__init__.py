"""What was measured, as tables and files. Nothing here imports torch or numpy."""
