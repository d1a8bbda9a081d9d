"""The adversary's table: whole postings or none, the newest only, and a wait that ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secure_fl.app.board import Board
from tests.app.conftest import Time


@pytest.fixture
def board(tmp_path: Path) -> Board:
    time = Time()
    return Board(tmp_path, 2.0, time.clock, time.sleep)


def vector(value: float) -> np.ndarray:
    return np.full(5, value, np.float32)


def test_a_posting_is_read_as_it_was_laid_open_and_replaces_the_former(board: Board) -> None:
    board.post("site-0", "round-1-aa", vector(1))
    board.post("site-0", "round-2-bb", vector(2))
    assert board.read("site-0", "round-1-aa") is None
    np.testing.assert_array_equal(board.read("site-0", "round-2-bb"), vector(2))
    assert [path.name for path in board.folder.iterdir()] == ["site-0@round-2-bb.npy"]


def test_a_posting_of_another_history_is_not_taken_for_this_one(board: Board) -> None:
    board.post("site-0", "round-2-aa", vector(1))
    assert board.gather(["site-0"], "round-2-bb") == {}


def test_site_1_and_site_10_do_not_replace_each_other(board: Board) -> None:
    board.post("site-10", "m", vector(10))
    board.post("site-1", "n", vector(1))
    assert board.read("site-10", "m") is not None


def test_whoever_gathers_gets_what_is_there_in_the_order_asked_for_and_waits_no_longer_than_said(board: Board) -> None:
    for index in (2, 0):
        board.post(f"site-{index}", "m", vector(index))
    found = board.gather(["site-0", "site-1", "site-2"], "m")
    assert list(found) == ["site-0", "site-2"]
    assert 2.0 <= board.clock() < 2.2
    board.gather(["site-0", "site-2"], "m")
    assert board.clock() < 2.2, "nobody waits for what is there"


def test_a_site_has_a_board_only_if_its_own_node_config_says_so(tmp_path: Path) -> None:
    assert Board.of({"partition-id": 0}) is None
    assert Board.of({"board": str(tmp_path), "board-wait-s": 1.0}) == Board(tmp_path, 1.0)
