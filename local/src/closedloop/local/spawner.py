"""Starts processes on one thread that lasts as long as this process.

The kernel sends a child its death signal when the *thread* that started it ends, not the process. Without this, a
server started from a pool's thread would die with that thread.
"""

import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

Spawn = Callable[[], subprocess.Popen[bytes]]

_requests: SimpleQueue[tuple[Spawn, Future[subprocess.Popen[bytes]]]] = SimpleQueue()
_thread: threading.Thread | None = None
_lock = threading.Lock()


def on_lasting_thread(spawn: Spawn) -> subprocess.Popen[bytes]:
    """Run `spawn` there and give back its process (or raise its error)."""
    global _thread
    with _lock:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_serve, name="spawner", daemon=True)
            _thread.start()
    answer: Future[subprocess.Popen[bytes]] = Future()
    _requests.put((spawn, answer))
    return answer.result()


def _serve() -> None:
    while True:
        spawn, answer = _requests.get()
        try:
            answer.set_result(spawn())
        except BaseException as error:
            answer.set_exception(error)
