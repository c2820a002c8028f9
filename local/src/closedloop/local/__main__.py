"""`python -m closedloop.local`."""

from closedloop.local.commands import main

main()
