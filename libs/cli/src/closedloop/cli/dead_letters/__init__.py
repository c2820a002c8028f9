"""`closedloop dlq`: what services could not take; look at it, put the cause right, replay it."""
