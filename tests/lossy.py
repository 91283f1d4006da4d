"""A proxy in front of a Redis server that loses replies when it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class LossyProxy:
    """Forwards bytes; after `lose_replies(n)` the next n replies are dropped with their connection.

    The command has reached the server by then, and has run.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.to_lose = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> LossyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def lose_replies(self, count: int) -> None:
        self.to_lose = count

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for pump in (self._commands, self._replies):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        close(client, server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.to_lose:
                    self.to_lose -= 1
                    break
                client.sendall(data)
        close(client, server)


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
