"""Makes Java's AOT cache once per machine, with a broker that starts and stops on an empty folder."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from closedloop.local import aot_cache, jars
from closedloop.local.kafka import KafkaServer
from closedloop.local.places import cache_dir
from closedloop.local.ports import free_port
from closedloop.local.problems import LocalStackError


def warm_up(say: Callable[[str], None] = lambda sentence: None, progress: jars.Progress = lambda done, total: None) -> None:
    """Fetch Kafka's jars and make the cache, where that was not done yet (about 15 s).

    Where no cache can be made, Kafka starts without it.
    """
    jars.provide(cache_dir(), progress)
    cache = aot_cache.path()
    if cache.exists():
        return
    say("preparing Kafka for quick starts, once")
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".training-") as folder:
        made = Path(folder) / "made.aot"
        broker = KafkaServer(Path(folder) / "kafka", free_port(), java_options=(f"-XX:AOTCacheOutput={made}",))
        try:
            broker.start()
        except LocalStackError:
            pass  # the real broker will tell why, in a log that stays
        finally:
            broker.stop(60)  # Java writes the cache when it ends
        if not made.exists():
            made.touch()  # an empty one means: not possible on this machine, do not try at each start
        made.replace(cache)
