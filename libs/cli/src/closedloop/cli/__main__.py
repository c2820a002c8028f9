"""`python -m closedloop.cli`."""

from closedloop.cli.app import main

main()
