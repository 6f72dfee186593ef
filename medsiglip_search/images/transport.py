"""Values between two processes over a socket; large arrays go through memory that both have mapped."""

import mmap
import os
import pickle
import socket
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

# Smaller buffers are cheaper to send than to share.
_SHARED_FROM_BYTES = 1 << 16
# Beyond this, the memory is given back after a picture. Below it stays: to have it cleared and mapped anew
# takes several times as long as to copy a picture into it and out again.
_KEPT_BYTES = 16 << 20


def send(channel: socket.socket, value: Any) -> None:
    """Send a value for `receive`. Raises OSError if the other end has hung up."""
    # As a stream, so that a large file on its way to be decoded is in memory once at each end.
    with channel.makefile("wb") as stream:
        pickle.dump(value, stream, protocol=5)


def receive(channel: socket.socket) -> Any:
    """Return the next value, of which there must be no more than one on its way.

    Raises EOFError if the other end has hung up, OSError, TimeoutError.
    """
    with channel.makefile("rb") as stream:
        try:
            return pickle.load(stream)
        except pickle.UnpicklingError:
            raise EOFError from None


class SharingSender:
    """The end that sends large arrays; the other one is a `SharingReceiver`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._descriptor = _anonymous_file()
        self._mapped: mmap.mmap | None = None
        socket.send_fds(channel, [b"\0"], [self._descriptor])

    def send(self, value: Any) -> None:
        """Send a value. Whatever was sent before must have been received. Raises OSError."""
        shared: list[memoryview] = []

        def stays_inside(buffer: pickle.PickleBuffer) -> bool:
            view = buffer.raw()
            if view.nbytes < _SHARED_FROM_BYTES:
                return True
            shared.append(view)
            return False

        message = pickle.dumps(value, protocol=5, buffer_callback=stays_inside)
        self._share(shared)
        send(self._channel, (message, [view.nbytes for view in shared]))

    def _share(self, views: Sequence[memoryview]) -> None:
        needed = sum(view.nbytes for view in views)
        held = len(self._mapped) if self._mapped else 0
        if self._mapped is None or needed > held or held > _KEPT_BYTES >= needed:
            if self._mapped is not None:
                self._mapped.close()
            size = max(needed, _KEPT_BYTES if held > _KEPT_BYTES else held, mmap.PAGESIZE)
            os.ftruncate(self._descriptor, size)
            self._mapped = mmap.mmap(self._descriptor, size)
        start = 0
        for view in views:
            self._mapped[start : start + view.nbytes] = view
            start += view.nbytes


class SharingReceiver:
    """The end that receives large arrays."""

    def __init__(self, channel: socket.socket) -> None:
        """Wait for the sender. Raises EOFError if it has hung up, OSError, TimeoutError."""
        self._channel = channel
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        if not descriptors:
            raise EOFError
        [self._descriptor] = descriptors
        self._mapped: mmap.mmap | None = None

    def receive(self) -> Any:
        """Return the next value, its arrays in memory of their own. Raises as `receive` does."""
        message, sizes = receive(self._channel)
        return pickle.loads(message, buffers=self._copies(sizes))

    def close(self) -> None:
        """Let go of the memory."""
        os.close(self._descriptor)
        if self._mapped is not None:
            self._mapped.close()

    def _copies(self, sizes: Sequence[int]) -> list[np.ndarray]:
        if not sizes:
            return []
        if self._mapped is None or len(self._mapped) < sum(sizes):
            self._mapped = mmap.mmap(self._descriptor, sum(sizes))
        copies = [
            np.frombuffer(self._mapped, np.uint8, size, end - size).copy()
            for size, end in zip(sizes, np.cumsum(sizes), strict=True)
        ]
        if len(self._mapped) > _KEPT_BYTES:
            self._mapped.close()
            self._mapped = None
        return copies


def _anonymous_file() -> int:
    """Return the descriptor of a file without a name, in memory where the system has such."""
    # Not /dev/shm: containers often have 64 MB of it, and names there outlive a killed process.
    if hasattr(os, "memfd_create"):
        return os.memfd_create("frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
