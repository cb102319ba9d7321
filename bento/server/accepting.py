"""New connections go to the worker that has the fewest.

All workers listen on one socket, and the system wakes all of them for a connection. Whichever runs
first would take it, and the next ones with it: eight connections often all went to one of two
workers. So each tells the others how many it has, and leaves a connection to one that has fewer.
"""

import asyncio
import mmap
import socket
import struct
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext

_ENTRY = struct.Struct("=dq")
"""Of each worker: when it last wrote (`time.monotonic`, one clock for all processes), and its
connections."""
_WRITE_SECONDS = 0.5
_STALE_SECONDS = 2.0
"""A worker that has not written for so long accepts nothing."""
_LOOK_SECONDS = 0.001
_PATIENCE_SECONDS = 0.005
"""For a connection to be taken by a worker that has fewer; then it is taken all the same."""
_OUT_OF_FILES_SECONDS = 0.1


class Board:
    """The connections of each of `count` workers, of which this is the one of this `index`: in a
    file that all of them have mapped, if there is one."""

    def __init__(self, file: Path | None, index: int, count: int) -> None:
        self._index, self._count = index, count
        self.own = 0
        """This worker's connections."""
        self._at = 0.0
        size = count * _ENTRY.size
        if file is None:
            self._map = mmap.mmap(-1, size)
            return
        with file.open("a+b") as opened:
            opened.truncate(size)
            self._map = mmap.mmap(opened.fileno(), size)

    def gain(self) -> None:
        """This worker has one connection more."""
        self.own += 1
        self._write()

    def lose(self) -> None:
        """This worker has one connection less."""
        self.own -= 1
        self._write()

    def open(self) -> None:
        """This worker accepts connections, and will say so again."""
        self._at = time.monotonic()
        self._write()

    def close(self) -> None:
        """This worker accepts no more."""
        self._at = 0.0
        self._write()

    def _write(self) -> None:
        _ENTRY.pack_into(self._map, self._index * _ENTRY.size, self._at, self.own)

    def fewest(self) -> int | None:
        """The fewest connections of another worker that accepts; None without one."""
        since = time.monotonic() - _STALE_SECONDS
        entries = [_ENTRY.unpack_from(self._map, i * _ENTRY.size) for i in range(self._count)]
        others = (n for i, (at, n) in enumerate(entries) if i != self._index and at > since)
        return min(others, default=None)


class Listener:
    """Accepts the connections of one socket, in the place of an `asyncio.Server`. `make` makes the
    protocol of each, which tells the board when it ends."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        make: Callable[[], asyncio.Protocol],
        listening: socket.socket,
        board: Board,
        ssl: SSLContext | None,
    ) -> None:
        self._loop, self._make, self._socket = loop, make, listening
        self._board, self._ssl = board, ssl
        self._starting: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        self._pausing: asyncio.TimerHandle | None = None
        self._give_up = 0.0  # waiting for another worker
        self._look()
        self._tell()

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._socket)
        for timer in (self._telling, self._pausing):
            if timer is not None:
                timer.cancel()
        self._board.close()

    async def wait_closed(self) -> None:
        """There is nothing to wait for: connections are the server's."""

    def _tell(self) -> None:
        self._board.open()
        self._telling = self._loop.call_later(_WRITE_SECONDS, self._tell)

    def _look(self) -> None:
        self._loop.add_reader(self._socket, self._waits)

    def _waits(self) -> None:
        """A connection waits to be accepted."""
        fewest, now = self._board.fewest(), self._loop.time()
        if self._give_up < now - _PATIENCE_SECONDS:  # of one that another worker took
            self._give_up = now + _PATIENCE_SECONDS
        if fewest is None or self._board.own <= fewest or now >= self._give_up:
            self._give_up = 0.0
            self._accept()
        else:
            self._pause(_LOOK_SECONDS)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._pausing = self._loop.call_later(seconds, self._look)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # another worker was faster, or the client has left
        except OSError:  # too many files are open: some will be closed
            self._pause(_OUT_OF_FILES_SECONDS)
            return
        self._board.gain()
        task = self._loop.create_task(self._start(connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(self._make, connection, ssl=self._ssl)
        except OSError:  # it is over before it has begun, and its protocol knows nothing of it
            self._board.lose()


def accept_by(board: Board) -> None:
    """Have the running loop accept the connections of sockets in this way: uvicorn, which asks it
    for a server, has no setting for that."""
    loop = asyncio.get_running_loop()

    async def create_server(
        make: Callable[[], asyncio.Protocol],
        *,
        sock: socket.socket,
        ssl: SSLContext | None = None,
        backlog: int = 0,  # the socket listens already
    ) -> Listener:
        return Listener(loop, make, sock, board, ssl)

    loop.create_server = create_server  # pyright: ignore[reportAttributeAccessIssue]
