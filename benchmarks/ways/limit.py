"""What no client in Python can undercut: the bytes that pottery sends, ready, on plain sockets.

They were recorded, with the numbers of replies, and stand in the file named by RECORDED. Replies
are taken apart by hiredis and then forgotten.
"""

from __future__ import annotations

import json
import os
import socket
from base64 import b64decode
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import hiredis


def ways(urls):
    lines = [Line(url) for url in urls]
    rows = json.loads(Path(os.environ["RECORDED"]).read_text())
    return {row: partial(replay, lines, list(map(turn, turns))) for row, turns in rows.items()}


def turn(recorded):
    """Return (line, bytes, replies) for each server that is asked in a turn."""
    sent, replies = recorded
    return [(int(line), b64decode(data), replies[line]) for line, data in sent.items()]


def replay(lines, turns):
    for asked in turns:
        for line, data, _ in asked:
            lines[line].socket.sendall(data)
        for line, _, replies in asked:
            lines[line].hear(replies)


class Line:
    """A connection to a database."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()
        self.socket.sendall(b"HELLO 3\r\nSELECT %s\r\n" % parts.path.strip("/").encode())
        self.hear(2)

    def hear(self, replies):
        while replies:
            reply = self.reader.gets()
            if reply is False:
                self.reader.feed(self.socket.recv(2**16))
            else:
                replies -= 1
