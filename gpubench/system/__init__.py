"""The machine and this process: what they are, and what happens to them during a measurement."""
