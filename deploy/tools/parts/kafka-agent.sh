# The Prometheus JMX agent: what a Kafka broker says of itself, for tests/deploy/test_every_query.py. Strimzi's images have their own.
.venv/bin/python deploy/tools/kafka_agent.py "$CACHE"
