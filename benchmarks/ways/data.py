"""What all ways put into their containers."""

THOUSAND = {f"key {n}": n for n in range(1000)}
KEYS = list(THOUSAND)
HALF = KEYS[::2] + [f"stranger {n}" for n in range(500)]
LONG = {f"key {n}": n for n in range(10_000)}
NUMBERS = list(range(1000))
ITEMS = [f"item {n}" for n in range(10_000)]


def drain(iterable):
    """Walk through it, and keep nothing."""
    for _ in iterable:
        pass
