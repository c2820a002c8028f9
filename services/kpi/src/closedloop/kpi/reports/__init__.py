"""Monthly quality reports: gathered from the indicators, commented, published, kept as they were."""
