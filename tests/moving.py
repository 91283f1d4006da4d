"""Slots that move from one server of a cluster to another."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager


@contextmanager
def at_nodes(cluster):
    """Lend a client of each node alone."""
    with ExitStack() as stack:
        yield [stack.enter_context(node.client()) for node in cluster.nodes]


def owner_of(clients, number):
    """Return which of the nodes has a slot, by its place, and what it calls itself."""
    for place, client in enumerate(clients):
        lines = client.execute_command("CLUSTER NODES").values()
        (myself,) = [line for line in lines if "myself" in line["flags"]]
        if any(int(bounds[0]) <= number <= int(bounds[-1]) for bounds in myself["slots"]):
            return place
    raise LookupError


def begin_move(clients, number, source, target):
    names = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    clients[target].execute_command("CLUSTER SETSLOT", number, "IMPORTING", names[source])
    clients[source].execute_command("CLUSTER SETSLOT", number, "MIGRATING", names[target])


def move_key(cluster, clients, key, source, target):
    node = cluster.nodes[target]
    clients[source].execute_command("MIGRATE", node.host, node.port, key, 0, 5000)


def move_keys(cluster, clients, number, source, target, pause=0.0):
    while keys := clients[source].execute_command("CLUSTER GETKEYSINSLOT", number, 1):
        move_key(cluster, clients, keys[0], source, target)
        time.sleep(pause)


def end_move(clients, number, target):
    name = clients[target].execute_command("CLUSTER MYID").decode()
    masters = [client for client in clients if client.info("replication")["role"] == "master"]
    for client in (clients[target], *masters):
        client.execute_command("CLUSTER SETSLOT", number, "NODE", name)
    # A slot that moves on before all have heard of its owner's epoch may end up with no owner.
    end = time.monotonic() + 10
    while len({frozenset(epochs(client)) for client in clients}) > 1:
        assert time.monotonic() < end
        time.sleep(0.01)


def epochs(client):
    """Return what a node knows of how new the claims of all nodes are."""
    nodes = client.execute_command("CLUSTER NODES").values()
    return [(node["node_id"], node["epoch"]) for node in nodes]


def move(cluster, clients, number, source, target, pause=0.0):
    begin_move(clients, number, source, target)
    move_keys(cluster, clients, number, source, target, pause)
    time.sleep(pause)
    end_move(clients, number, target)


class Mover:
    def __init__(self, cluster, clients, number, place):
        self.cluster = cluster
        self.clients = clients
        self.number = number
        self.place = place
        self.target = None

    def begin(self):
        self.target = (self.place + 1) % 3
        begin_move(self.clients, self.number, self.place, self.target)

    def begin_with_keys(self):
        self.begin()
        self.move_keys()

    def move_keys(self, share=1):
        """Move one of so many of the keys, or all of them."""
        keys = self.clients[self.place].execute_command("CLUSTER GETKEYSINSLOT", self.number, 1000)
        for key in sorted(keys)[::share]:
            move_key(self.cluster, self.clients, key, self.place, self.target)

    def finish(self):
        if self.target is not None:
            move_keys(self.cluster, self.clients, self.number, self.place, self.target)
            end_move(self.clients, self.number, self.target)
            self.place, self.target = self.target, None

    def keys_at_target(self):
        return self.clients[self.target].execute_command("CLUSTER COUNTKEYSINSLOT", self.number)

    def go(self, target=None, pause=0.0):
        target = (self.place + 1) % 3 if target is None else target
        move(self.cluster, self.clients, self.number, self.place, target, pause)
        self.place = target
