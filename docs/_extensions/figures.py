"""Tables and charts of docs/performance.json, which `make bench ARGS='--write …'` writes."""

import json
from math import ceil
from pathlib import Path
from statistics import geometric_mean

import matplotlib as mpl
from matplotlib import pyplot as plt

DOCS = Path(__file__).parents[1]
FIGURES = DOCS / "performance.json"
MADE = DOCS / "_build" / "figures"
PEERS = ["pottery 3.0.1", "redis-collections", "walrus"]
GROUPS = {
    "dict": "RedisDict",
    "set": "RedisSet",
    "list": "RedisList",
    "deque": "RedisDeque",
    "counter": "RedisCounter",
    "hyperloglog": "HyperLogLog",
    "bloom": "BloomFilter",
    "queue": "RedisSimpleQueue",
    "cache": "Caches",
    "lock": "Redlock",
    "ids": "NextId",
    "asyncio": "asyncio",
}
# How busy a processor may be in the long run, and how many of its processors a machine lends.
BUSY = 0.7
PROCESSORS = 14
# What carries a command or a reply over the network: frames of Ethernet, IP and TCP.
FRAME = 78


def make(_):
    """Write what the pages include."""
    MADE.mkdir(parents=True, exist_ok=True)
    found = json.loads(FIGURES.read_text())
    texts = {
        "machine": machine(found["machine"]),
        "summary": summary(found["rows"]),
        "table": tables(found["rows"]),
        "together": together_table(found["together"]),
        "anatomy": anatomy_table(found["anatomy"]),
        "growth": growth_table(found["growth"]),
        "million": million_table(found["capacity"]),
    }
    for name, text in texts.items():
        (MADE / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    charts = {
        "ratios": lambda: ratio_chart(found["rows"]),
        "anatomy": lambda: anatomy_chart(found["anatomy"]),
        "growth": lambda: growth_chart(found["growth"]),
        "concurrency": lambda: concurrency_chart(found["concurrency"]),
    }
    for name, draw in charts.items():
        save(name, draw)


def save(name, draw):
    """Draw for light pages and for dark ones."""
    mpl.rcParams["svg.hashsalt"] = name
    for look, style in {"light": "default", "dark": "dark_background"}.items():
        with plt.style.context([style, {"svg.fonttype": "none", "font.family": "sans-serif"}]):
            chart = draw()
            chart.savefig(MADE / f"{name}-{look}.svg", transparent=True, metadata={"Date": None})
            plt.close(chart)


def markdown(head, rows):
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    cells = ([str(cell).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def machine(parts):
    return ", ".join(f"{name} {value}" for name, value in parts.items()) + "."


# --- beside the peers


def tables(rows):
    parts = []
    for group, title in GROUPS.items():
        own = {name: row for name, row in rows.items() if name.startswith(f"{group}: ")}
        parts += [f"### {title}", table(own)]
    return "\n\n".join(parts)


def table(rows):
    ways = ["pottery", "tuned by hand", *PEERS, "limit"]
    used = [way for way in ways if any(way in row["ways"] for row in rows.values())]
    lines = []
    for name, row in rows.items():
        by_hand = row["ways"]["by hand"]
        own, *others = (cell(row["ways"].get(way)) for way in used)
        micros = f"{by_hand['microseconds']:,.0f}{trips(by_hand)}"
        lines.append([f"`{name.partition(': ')[2]}`", micros, f"**{own}**", *others])
    return markdown(["operation", "by hand, µs", *used], lines)


def trips(way):
    count = way.get("round trips", 1)
    return f" ({count})" if count != 1 else ""


def cell(way):
    return f"{number(way['ratio'])}{trips(way)}" if way else ""


def number(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def summary(rows):
    """Say in how many operations a peer is slower, and how much slower it is in the mean."""
    lines = []
    for peer in ["by hand", *PEERS]:
        both = [row["ways"] for row in rows.values() if peer in row["ways"]]
        times = [ways[peer]["ratio"] / ways["pottery"]["ratio"] for ways in both]
        faster = sum(one > 1 for one in times)
        lines.append([peer, len(both), faster, f"{geometric_mean(times):.2f} times as fast"])
    head = [
        "beside",
        "operations",
        "pottery is faster in",
        "in the geometric mean, pottery is",
    ]
    return markdown(head, lines)


def together_table(results):
    lines = [
        [one["name"], f"{one['ratio']:.2f}", micros(one["pottery"]), micros(one["by_hand"])]
        for one in results
    ]
    return markdown(["", "ratio", "pottery, µs", "the other, µs"], lines)


def micros(seconds):
    return f"{seconds * 1e6:,.0f}"


def ratio_chart(rows):
    names = list(rows)[::-1]
    chart, axes = plt.subplots(figsize=(9, 0.2 * len(names) + 1.2), layout="constrained")
    marks = dict(zip(("limit", *PEERS, "pottery"), "|sv^o", strict=True))
    for way, mark in marks.items():
        points = [
            (rows[name]["ways"][way]["ratio"], place)
            for place, name in enumerate(names)
            if way in rows[name]["ways"]
        ]
        axes.plot(*zip(*points, strict=True), mark, label=way, markersize=5)
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set(xscale="log", xlabel="time, as a ratio to redis-py by hand", ylim=(-1, len(names)))
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    chart.legend(loc="outside upper center", ncols=5, frameon=False)
    return chart


# --- where the time of a call goes


def anatomy_table(calls):
    parts = list(next(iter(calls.values())))
    lines = [
        [f"`{name}`", *(f"{call[part]:.1f}" for part in parts)] for name, call in calls.items()
    ]
    return markdown(["µs", *parts], lines)


def anatomy_chart(calls):
    chart, axes = plt.subplots(figsize=(9, 2.4), layout="constrained")
    names = list(calls)[::-1]
    left = [0.0] * len(names)
    for part in [part for part in next(iter(calls.values())) if part != "all"]:
        widths = [max(calls[name][part], 0) for name in names]
        axes.barh(names, widths, left=left, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(xlabel="microseconds")
    chart.legend(loc="outside upper center", ncols=4, frameon=False)
    return chart


# --- how cost grows


def growth_table(growth):
    sizes = [grown["size"] for grown in next(iter(growth.values()))]
    lines = [[name, *(micros(one["once"]) for one in grown)] for name, grown in growth.items()]
    return markdown(["one element of so many, µs", *(f"{size:,}" for size in sizes)], lines)


GROWTH = {
    "one element, µs": ("once", 1e6, False),
    "filling, µs an element": ("fill", 1e6, False),
    "walking through, µs an element": ("walk", 1e6, True),
    "the server's part of a walk, µs an element": ("server", 1e6, True),
    "received in a walk, bytes an element": ("received", 1, True),
    "memory while walking, MiB": ("memory", 2**-20, False),
}


def growth_chart(growth):
    chart, grid = plt.subplots(3, 2, figsize=(9, 10), layout="constrained")
    for axes, (title, (what, scale, is_shared)) in zip(grid.flat, GROWTH.items(), strict=True):
        for place, (name, grown) in enumerate(growth.items()):
            points = [
                (one["size"], one[what] * scale / (one["size"] if is_shared else 1))
                for one in grown
                if one[what] is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=f"C{place}", label=name, ms=3)
        axes.set(title=title, xscale="log", xlabel="elements", ylim=0)
        axes.title.set_size(10)
        axes.grid(alpha=0.3)
    shown = grid.flat[0].get_legend_handles_labels()
    chart.legend(*shown, loc="outside upper center", ncols=4, frameon=False)
    return chart


def concurrency_chart(rates):
    chart, grid = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    for axes, workers in zip(grid, ("threads", "processes"), strict=True):
        for name, found in rates.items():
            axes.plot(
                list(map(int, found[workers])), list(found[workers].values()), "o-", label=name
            )
        axes.set(xlabel=workers, xticks=list(map(int, found[workers])))
        axes.grid(alpha=0.3)
    grid[0].set(ylabel="operations a second, of all together", ylim=0)
    chart.legend(
        *grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False
    )
    return chart


# --- a million a second


def million_table(capacity):
    head = [
        "a million a second of",
        "calls in flight",
        "clients' processors",
        "shards",
        "Gbit/s",
        "machines",
    ]
    return markdown(head, [million(name, cost) for name, cost in capacity.items()])


def million(name, cost):
    """Return what a million a second take: a microsecond each is one second in every second."""
    clients, shards = ceil(cost["client"] / BUSY), ceil(cost["server"] / BUSY)
    carried = cost["sent"] + cost["received"] + 2 * FRAME / cost["at_once"]
    return [
        f"`{name}`",
        ceil(cost["microseconds"]),
        clients,
        shards,
        f"{carried * 8 / 1e3:.1f}",
        ceil((clients + shards) / PROCESSORS),
    ]


def setup(app):
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True}
