"""`closedloop measurements`: figures that systems, tests and third parties report."""
