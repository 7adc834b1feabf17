"""Turns the settings of a user and sweep files into the cells that this machine can measure."""
