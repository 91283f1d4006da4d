"""What goes over the wire: proxies that write down every piece, in the order of time."""

from __future__ import annotations

import itertools
import socket
from contextlib import suppress
from threading import Thread
from typing import NamedTuple

from hiredis import Reader
from typing_extensions import Self


class Piece(NamedTuple):
    """Some bytes, from a client to the server of a number, or back."""

    server: int
    is_sent: bool
    data: bytes


class Recorder:
    """A way to each of some servers, at `urls`; the pieces that pass are in `pieces`."""

    def __init__(self, ports: list[int]) -> None:
        self.pieces: list[Piece] = []
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in ports]
        self.urls = [f"redis://127.0.0.1:{one.getsockname()[1]}" for one in self.listeners]
        for number, port in enumerate(ports):
            Thread(target=self.accept, args=(number, port), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self.listeners:
            listener.close()

    def accept(self, number: int, port: int) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listeners[number].accept()
                far = socket.create_connection(("127.0.0.1", port))
                for is_sent, source, target in ((True, near, far), (False, far, near)):
                    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    arguments = (number, is_sent, source, target)
                    Thread(target=self.pump, args=arguments, daemon=True).start()

    def pump(
        self, number: int, is_sent: bool, source: socket.socket, target: socket.socket
    ) -> None:
        with suppress(OSError):
            while data := source.recv(2**20):
                self.pieces.append(Piece(number, is_sent, data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def round_trips(pieces: list[Piece]) -> int:
    """Return how often something was sent after something had come."""
    directions = [True, *(piece.is_sent for piece in pieces)]
    return sum(before and not now for before, now in itertools.pairwise(directions))


class Turn(NamedTuple):
    """What is sent to some servers before anything is heard, and the replies that follow."""

    sent: dict[int, bytes]
    replies: dict[int, int]


def turns(pieces: list[Piece]) -> list[Turn]:
    """Return what to send, so that somebody else can do the same."""
    found: list[Turn] = []
    was_sent = False
    for piece in pieces:
        if piece.is_sent:
            if not was_sent:
                found.append(Turn({}, {}))
            sent = found[-1].sent
            sent[piece.server] = sent.get(piece.server, b"") + piece.data
        was_sent = piece.is_sent
    return [turn._replace(replies=dict(map(counted, turn.sent.items()))) for turn in found]


def counted(item: tuple[int, bytes]) -> tuple[int, int]:
    """Count the commands, each of which is answered once."""
    server, data = item
    reader = Reader()  # a command looks like an array
    reader.feed(data)
    count = 0
    while reader.gets() is not False:
        count += 1
    return server, count
