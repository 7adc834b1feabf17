"""`python -m gpubench.cli`: the same as `python -m gpubench`."""

from gpubench.cli.entry import console

console()
