"""`closedloop offsets`: the services' positions, kept in PostgreSQL, beside what Kafka has."""
