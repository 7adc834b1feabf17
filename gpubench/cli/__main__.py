"""`python -m gpubench.cli`, for where the installed command is not on the path."""

import sys

from gpubench.cli import main

sys.exit(main())
