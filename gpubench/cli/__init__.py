"""The `gpubench` command: one file a command. `program.py` has the list of them."""
