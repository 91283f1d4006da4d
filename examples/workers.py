"""Ways to work off a queue: docs/queues.md tells which is for what."""

import signal
from threading import Event

from pottery import QueueEmptyError


def work_until_told(queue, do):
    """Do one item after the other; when the process is told to end, finish the one at hand."""
    told = Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    while not told.is_set():
        work_for_a_second(queue, do)


def work_for_a_second(queue, do):
    """Wait a second for an item, and do it."""
    try:
        item = queue.get(timeout=1)
    except QueueEmptyError:
        return
    do(item)


def try_next(queue, failed, do, attempts=3):
    """Do the next item; if that fails, put it back, or aside if it has failed too often."""
    task = queue.get()
    try:
        do(task["item"])
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are waiting
        task["failures"] = [*task.get("failures", []), repr(error)]
        if len(task["failures"]) < attempts:
            queue.put(task)
        else:
            failed.append(task)


def work_in_order(items, lock, do):
    """Do one item after the other, one worker at a time: an item is removed when it is done."""
    with lock:
        while items and not lock.lost.is_set():
            item = items[0]
            do(item)
            items.remove(item)
