"""This machine and this process: their properties, and their state during a measurement."""
