"""Where commands print: results on stdout, what happens meanwhile on stderr."""

import sys
from typing import Final

from rich.console import Console

# a table that goes into a file or a pipe is not folded to the width of a terminal that is not there
_WIDTH: Final = None if sys.stdout.isatty() else 200
out: Final = Console(soft_wrap=True, highlight=False, width=_WIDTH)
err: Final = Console(stderr=True, soft_wrap=True, highlight=False)
