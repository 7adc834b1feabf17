"""`python -m gpubench.cli`, for where the installed command is not on the path."""

from gpubench.cli import console

console()
