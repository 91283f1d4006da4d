"""Callers: they let a script recognize its own earlier run.

A caller performs one operation at a time and numbers its commands. A script that finds the number
of its command in the caller's record has run already. Idle callers are reused, the most recent
first, so there are no more records than operations at the same time.
"""

from __future__ import annotations

import os
from collections import deque
from typing import ClassVar
from uuid import uuid4


class Caller:
    """Performs an operation; from `lease` until `free` no other operation uses it.

    It is not freed after an operation that failed, since its last command may still be on its way,
    unless the server has answered a later one.
    """

    __slots__ = ("may_hold", "name", "number")

    idle: ClassVar[deque[Caller]] = deque()
    process: ClassVar[int] = 0

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.number = 0
        # Whether the last command may have taken something that nobody has received.
        self.may_hold = False

    @classmethod
    def lease(cls) -> Caller:
        """Return a caller that no other operation uses."""
        if cls.process != os.getpid():  # a forked child must not pass for its parent
            cls.idle = deque()
            cls.process = os.getpid()
        try:
            return cls.idle.pop()
        except IndexError:
            return cls()

    def free(self) -> None:
        """Let other operations use this caller."""
        self.may_hold = False
        self.idle.append(self)

    def numeral(self, more: int = 0) -> str:
        """Return the number of the last command, plus *more*, as it is written in records."""
        return f"{self.number + more:016d}"
