"""A language model's server that does not come to an end by itself, for tests of what ends it."""

from contextlib import suppress
from itertools import count

from faulty_servers import Connection, chunk

EVERY_S = 0.1


def talking(connection: Connection) -> None:
    """Say "No effusion." and then number after number, until the client goes."""
    connection.start()
    connection.send(chunk("No "), chunk("effusion. "))
    with suppress(OSError):
        for number in count(1):
            if connection.is_over.wait(EVERY_S):
                return
            connection.send(chunk(f"{number} "))
    connection.saw_close.set()
