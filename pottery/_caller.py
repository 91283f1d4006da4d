"""Callers: by whom a script knows an earlier run of itself.

A caller performs one operation at a time and numbers its commands. A script that finds the number
of its command in the caller's record has run already. Idle callers are used again, the last one
first, so that there are no more records than operations at one time.
"""

from __future__ import annotations

import os
from collections import deque
from typing import ClassVar
from uuid import uuid4


class Caller:
    """Who performs an operation; from `lease` until `free` no other operation has it.

    After an operation that failed it is not freed, for its last command may be on its way still;
    unless the server has answered a later one.
    """

    __slots__ = ("may_hold", "name", "number")

    idle: ClassVar[deque[Caller]] = deque()
    process: ClassVar[int] = 0

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.number = 0
        # Whether the last command may have taken something that was not delivered yet.
        self.may_hold = False

    @classmethod
    def lease(cls) -> Caller:
        """Return a caller that nobody else has."""
        if cls.process != os.getpid():  # a forked child must not pass for its parent
            cls.idle = deque()
            cls.process = os.getpid()
        try:
            return cls.idle.pop()
        except IndexError:
            return cls()

    def free(self) -> None:
        """Let others have this caller."""
        self.may_hold = False
        self.idle.append(self)

    def count(self, number: int = 0) -> str:
        """Return the number of the last command, or of *number* after it, as records have it."""
        return f"{self.number + number:016d}"
