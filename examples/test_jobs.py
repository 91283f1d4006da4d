"""Tests of jobs.py, on a real server: `pytest -p pottery.testing.plugin test_jobs.py`."""

import pytest
from jobs import Jobs


def test_job_is_done_and_counted(redis_client):
    jobs = Jobs(redis_client)
    job = jobs.submit(1001)

    jobs.take_turn("ann")

    assert jobs.wait(job) == [7, 11, 13]
    assert jobs.done["ann"] == 1
    assert not jobs.open


def test_job_of_a_worker_that_died_is_done_by_another(redis_client):
    jobs = Jobs(redis_client, lease=0)
    job = jobs.submit(1001)
    jobs.queue.get_nowait()  # by somebody who dies at once

    jobs.sweep()
    jobs.take_turn("bob")

    assert jobs.wait(job) == [7, 11, 13]


@pytest.mark.parametrize("before", range(4))
def test_no_job_is_lost_or_doubled_by_a_lost_reply(redis_proxy, redis_proxy_client, before):
    jobs = Jobs(redis_proxy_client)

    redis_proxy.drop_reply(after=before)
    for n in (4, 6, 10):
        jobs.submit(n)

    assert redis_proxy.lost == 1
    assert [jobs.open[jobs.queue.get_nowait()]["n"] for _ in range(3)] == [4, 6, 10]
    assert jobs.queue.empty()
