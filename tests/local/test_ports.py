"""Free ports and the holders of taken ones."""

import os
import socket

from closedloop.local import ports


def test_free_ports_lie_below_the_ephemeral_range_and_are_never_the_same() -> None:
    given = [ports.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert all(1024 < port < 32_768 for port in given)


def test_the_holder_of_a_port_is_named() -> None:
    port = ports.free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free(port)
        assert f"(pid {os.getpid()})" in str(ports.holder(port))
    assert ports.is_free(port)
    assert ports.holder(port) is None
