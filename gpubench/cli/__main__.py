"""`python -m gpubench.cli`: the same as `python -m gpubench`."""

from gpubench._console import console

console()
