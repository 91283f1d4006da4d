"""IDs in a world that is all bad luck: simulated masters, clients, delays, losses and pauses.

Only the network, the clock and the four scripts are simulated; the plans are the real ones. Every
schedule is random, and the same in each run. That the world is bad enough is tested, too: each rule
of the algorithm is broken once, and then IDs are issued twice.
"""

from __future__ import annotations

import heapq
import random
from itertools import chain, count
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from redis import Redis

from pottery import nextid
from pottery._plan import Pause
from pottery._poll import Unanswered
from pottery.exceptions import QuorumNotAchieved
from pottery.nextid import CLAIM, LOOK, NEXT, TEACH, NextId


def run(script, value, args, time):
    """Return what *script* leaves in the place of *value*, and what it returns."""
    if script == CLAIM:
        first, last, *default = args
        held = value or (default[0].encode() if default else None)
        if held and held.isdigit() and int(held) < int(first):
            return last.encode(), 1
        is_due = held and held.startswith(b"rec:") and int(held.split(b":")[2]) <= int(time)
        return value, [held] if is_due else held
    if script == NEXT:
        least, how_many = map(int, args)
        last = max(int(value or 0), least) + how_many
        return str(last).encode(), last
    if script == LOOK:
        mark, seconds = args
        value = value or f"{mark}{int(time) + int(seconds)}".encode()
        return value, value
    assert script == TEACH
    if value == args[1]:
        return args[0].encode(), 1
    return value, value


class Luck(NamedTuple):
    """How likely it is that something goes wrong."""

    lost: float
    late: float
    forgotten: float
    paused: float
    wild: float


ANY = Luck([0, 0.02, 0.15], [0, 0.05, 0.3], [0, 0.02, 0.1], [0, 0.2], [0, 0.3])
# More of anything, and fewer IDs are issued that could be wrong.
WORST = Luck(lost=0, late=0.05, forgotten=0.1, paused=0, wild=0)


class World:
    """Masters and what is under way to them and from them."""

    def __init__(self, seed, masters, luck):
        self.random = random.Random(seed)
        self.time = 0.0
        self.events = []
        self.number = count()
        self.values = dict.fromkeys(masters)
        self.clocks = {master: self.random.uniform(0, 1000) for master in masters}
        self.faithless = masters[0]  # of two, the other has to remember
        self.has_begun = False
        self.luck = luck or Luck(*map(self.random.choice, ANY))

    def later(self, seconds, event, *args):
        heapq.heappush(self.events, (self.time + seconds, next(self.number), event, args))

    def run(self):
        while self.events:
            self.time, _, event, args = heapq.heappop(self.events)
            event(*args)

    def happens(self, probability):
        return self.random.random() < probability

    def delay(self):
        return self.random.expovariate(1 / (1.0 if self.happens(self.luck.late) else 0.001))

    def send(self, master, command, answer):
        """Deliver a command once, or never."""
        if not self.happens(self.luck.lost):
            self.later(self.delay(), self.deliver, master, command, answer)

    def deliver(self, master, command, answer):
        _, script, _, _, *args = command
        self.values[master], reply = run(
            script, self.values[master], args, self.time + self.clocks[master]
        )
        if not self.happens(self.luck.lost):
            self.later(self.delay(), answer, master, reply)
        if self.happens(self.luck.forgotten):
            self.later(self.delay(), self.forget, master)

    def forget(self, master):
        """Lose the data of a master, unless nobody would know then that there was a sequence."""
        others = [value for at, value in self.values.items() if at is not master]
        if len(others) < 2 and master is not self.faithless:
            return
        if self.has_begun and any(value and value.isdigit() and int(value) for value in others):
            self.values[master] = None


class Client:
    """Takes IDs one after the other, and writes down from when to when it waited for them."""

    def __init__(self, world, masters, calls, history):
        self.world = world
        self.ids = NextId(masters=masters)
        self.calls = calls
        self.history = history
        self.next_call()

    def next_call(self):
        if self.calls:
            self.calls -= 1
            self.began = self.world.time
            if self.world.happens(self.world.luck.wild):  # whatever it takes for the last ID
                self.ids._memory.last += self.world.random.randint(1, 10)
            self.steps = self.ids._claim(
                self.ids._memory, self.world.random.choice([1, 1, 1, 2, 5])
            )
            self.world.later(self.world.delay(), self.go_on, None)

    def go_on(self, reply):
        try:
            step = self.steps.send(reply)
        except QuorumNotAchieved:
            self.next_call()
        except StopIteration as done:
            self.world.has_begun = True
            self.history.append((self.began, self.world.time, done.value))
            self.next_call()
        else:
            if isinstance(step, Pause):
                self.world.later(step.seconds, self.go_on, None)
            else:
                Asking(self.world, step, self.go_on)


class Asking:
    """A poll under way."""

    def __init__(self, world, poll, done):
        self.world = world
        self.poll = poll
        self.done = done
        self.votes = dict.fromkeys(poll.clients, Unanswered())
        self.is_closing = False
        for master in poll.clients:
            world.send(master, poll.args, self.answer)
        world.later(poll.seconds, self.close)

    def answer(self, master, reply):
        if self.done:
            self.votes[master] = reply
            votes = list(self.votes.values())
            has_all = not any(isinstance(vote, Unanswered) for vote in votes)
            if has_all or (self.poll.enough and self.poll.enough(votes)):
                self.close()

    def close(self):
        """End the poll, but if the process is paused just then, later."""
        if not self.is_closing:
            self.is_closing = True
            pause = (
                self.world.random.uniform(0, 8) if self.world.happens(self.world.luck.paused) else 0
            )
            self.world.later(pause, self.end)

    def end(self):
        done, self.done = self.done, None
        done(list(self.votes.values()))


def mistakes(seed, count_of_masters, luck=None):
    """Let clients take IDs in a world of its own; return how many IDs came, and which are wrong."""
    masters = [Redis(port=port) for port in range(1, count_of_masters + 1)]
    world = World(seed, masters, luck)
    history = []
    nextid.now = lambda: world.time
    nextid.random = world.random.random
    for _ in range(3):
        Client(world, masters, 12, history)
    world.run()
    issued = list(chain.from_iterable(block for _, _, block in history))
    twice = len(issued) - len(set(issued))
    falling = sum(
        earlier[-1] >= later[0]
        for _, end, earlier in history
        for begin, _, later in history
        if end < begin
    )
    return len(issued), twice, falling


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    for name in ("now", "random"):
        monkeypatch.setattr(nextid, name, getattr(nextid, name))  # put back at the end


@pytest.mark.slow
@pytest.mark.parametrize("luck", [None, WORST], ids=["any", "worst"])
@pytest.mark.parametrize("masters", [1, 2, 3, 4, 5])
def test_no_id_is_issued_twice_and_none_falls(masters, luck):
    total = 0
    for seed in range(300):
        issued, *wrong = mistakes(seed, masters, luck)
        assert wrong == [0, 0], f"schedule {seed}"
        total += issued
    assert total > 300 * 5


def without_marks(monkeypatch):
    """Give every mark the same text."""
    monkeypatch.setattr(nextid, "uuid4", lambda: SimpleNamespace(hex="the same"))


def with_zero_for_nothing(monkeypatch):
    """Let a master that has forgotten begin at 0, as pottery 3.0 does."""

    def blank(ids):
        ids._nothing = ("0",)
        return nextid._Memory(nextid.Together(ids._bell), knows=True)

    monkeypatch.setattr(NextId, "_blank", blank)


@pytest.mark.slow
@pytest.mark.parametrize("masters", [3, 5])
@pytest.mark.parametrize("breaking", [without_marks, with_zero_for_nothing])
def test_the_world_is_bad_enough_to_show_a_broken_rule(monkeypatch, masters, breaking):
    breaking(monkeypatch)
    assert any(mistakes(seed, masters, WORST)[1] for seed in range(300))


@pytest.mark.parametrize(
    ("chance", "proposals"), [(0, [1, 6, 8, 10, 12]), (0.99, [1, 6, 9, 14, 23])]
)
def test_who_loses_asks_at_once_for_ids_further_ahead(monkeypatch, chance, proposals):
    monkeypatch.setattr(nextid, "random", lambda: chance)
    ids = NextId(masters=[Redis(port=port) for port in range(1, 6)])
    ids._memory.knows = True
    steps = ids._claim(ids._memory, 1)
    asked, step = [], next(steps)
    for _ in range(5):
        asked.append(int(step.args[4]))
        last = b"%d" % (asked[-1] + (4 if len(asked) == 1 else 1))
        step = steps.send([last] * 5)
    assert asked == proposals


# --- what takes more bad luck than chance brings: a vote that is counted after it was forgotten


class Slow:
    """Five masters at 10; the fifth accepts 20 and forgets it while the others get 20, too."""

    def __init__(self, monkeypatch):
        self.time = 100.0
        monkeypatch.setattr(nextid, "now", lambda: self.time)
        self.masters = [Redis(port=port) for port in range(1, 6)]
        self.values = dict.fromkeys(self.masters, b"10")

    def client(self, last):
        ids = NextId(masters=self.masters)
        ids._memory.last, ids._memory.knows = last, True
        return ids, ids._claim(ids._memory, 1)

    def vote(self, poll, *numbers):
        """Let those masters get and answer *poll*; return the votes."""
        for number in numbers:
            master = self.masters[number]
            if master in poll.clients:
                _, script, _, _, *args = poll.args
                self.values[master], self.votes[master] = run(
                    script, self.values[master], args, self.time
                )
        return [self.votes.get(master, Unanswered()) for master in poll.clients]

    def ask(self, steps, *numbers, reply=None):
        """Let a client take one ID, of the masters *numbers*; return it, None if it got none."""
        try:
            step = steps.send(reply)
            while not isinstance(step, Pause):
                self.votes = {}
                step = steps.send(self.vote(step, *numbers))
        except StopIteration as done:
            return done.value[0]
        return None

    def play(self):
        """Return the IDs of a client that is slow, and of one that comes after it."""
        _, steps = self.client(19)
        poll = next(steps)
        self.votes = {}
        self.vote(poll, 4)
        votes_of_slow = dict(self.votes)
        self.values[self.masters[4]] = None

        # Another client meets the one that forgot, twice.
        other, _ = self.client(10)
        for _ in range(3):
            assert self.ask(other._claim(other._memory, 1), 0, 1, 2, 4)

        self.votes = votes_of_slow
        yield self.ask_on(steps, self.vote(poll, 0, 1))
        _, late = self.client(19)
        yield self.ask(late, 2, 3, 4)

    def ask_on(self, steps, votes):
        try:
            steps.send(votes)
        except StopIteration as done:
            return done.value[0]
        return None


def test_master_that_forgot_waits_until_its_votes_are_not_counted_any_more(monkeypatch):
    assert list(Slow(monkeypatch).play()) == [20, None]

    monkeypatch.setattr(nextid, "_SETTLED", 0)
    assert list(Slow(monkeypatch).play()) == [20, 20], "the rule was not needed"


def test_votes_are_not_counted_after_that_time(monkeypatch):
    world = Slow(monkeypatch)
    play = world.play()
    vote = world.vote

    def vote_late(poll, *numbers):
        if numbers == (0, 1):
            world.time += nextid._PATIENCE + 0.01
        return vote(poll, *numbers)

    world.vote = vote_late
    assert next(play) is None
