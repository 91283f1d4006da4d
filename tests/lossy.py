"""A proxy in front of a Redis server that loses replies when it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from redis import Redis
from typing_extensions import Self

GREETINGS = (b"HELLO", b"CLIENT", b"SELECT")


class LossyProxy:
    """Forwards bytes; after `lose_replies(n)` the next n replies are dropped with their connection.

    `lose_replies(n, after=m)` lets m replies through before.

    The command has reached the server by then, and has run. What redis-py says when it connects is
    answered all the same.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._sockets: list[socket.socket] = []
        self.to_lose = 0
        self.to_spare = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close(self._listener, *self._sockets)  # which ends the threads, too

    def client(self) -> Redis:
        return Redis.from_url(self.url)

    def lose_replies(self, count: int, *, after: int = 0) -> None:
        self.to_spare = after
        self.to_lose = count

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self._sockets += [client, server]
                sent = [b""]
                for pump in (self._commands, self._replies):
                    threading.Thread(target=pump, args=(client, server, sent), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket, sent: list[bytes]) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                sent[0] = data
                server.sendall(data)
        close(client, server)

    def _replies(self, client: socket.socket, server: socket.socket, sent: list[bytes]) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.to_lose and not any(word in sent[0] for word in GREETINGS):
                    if not self.to_spare:
                        self.to_lose -= 1
                        break
                    self.to_spare -= 1
                client.sendall(data)
        close(client, server)


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
