"""Where commands print: results on stdout, what happens meanwhile on stderr."""

from typing import Final

from rich.console import Console

out: Final = Console(soft_wrap=True, highlight=False)
err: Final = Console(stderr=True, soft_wrap=True, highlight=False)
