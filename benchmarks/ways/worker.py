"""A process that does one way: told which row, and how often, it says how many seconds that took.

It is run by the Python of the way's own environment. Both sides speak JSON, a line at a time.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import sys
import warnings
from time import perf_counter


class Worker:
    def __init__(self, module, urls):
        self.ways = importlib.import_module(module).ways(urls)
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def seconds(self, row, times):
        """Return how long a row takes, done so many times in a row."""
        way = self.ways[row]
        if inspect.iscoroutinefunction(way):
            return self.loop.run_until_complete(self.seconds_awaiting(way, times))
        began = perf_counter()
        for _ in range(times):
            way()
        return perf_counter() - began

    async def seconds_awaiting(self, way, times):
        began = perf_counter()
        for _ in range(times):
            await way()
        return perf_counter() - began

    def answer(self, question):
        if not question:
            return list(self.ways)
        try:
            return self.seconds(*question)
        except Exception as error:  # noqa: BLE001 - whatever it is, the way cannot do this row
            return {"error": f"{type(error).__name__}: {error}"}


def main(module, *urls):
    warnings.simplefilter("ignore")
    worker = Worker(module, urls)
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
