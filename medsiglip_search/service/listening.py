"""The port: taken before anything is loaded, so that one which is not to be had is told at once."""

import socket

from medsiglip_search.errors import Unavailable

BACKLOG = 2048
"""So many connections may wait to be taken."""


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections; those that come before the service is there wait for it.

    Raises Unavailable if another program listens there, or if that is no address of this machine.
    """
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        listener = socket.create_server((name, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or "no such address").lower()
        raise Unavailable(
            f"{host}, port {port}: cannot be listened to: {why}; end the other program, or choose another "
            "--port or --host"
        ) from None
    # Connections inherit it; asyncio sets it only on those of sockets whose protocol is named. An answer goes
    # in two pieces, head and body, and the second would wait 40 ms for the other end to confirm the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
