"""`python -m gpubench`, for where the installed command is not on the path."""

from gpubench.cli.entry import console

console()
