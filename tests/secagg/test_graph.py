"""All are neighbours up to 32 members; beyond, the graph is regular, symmetric and drawn from the transcript."""

from __future__ import annotations

from math import comb

import pytest

from secure_fl.secagg.graph import COMPLETE_UP_TO, neighbourhoods, shape_of, threshold_of

T = bytes(32)


@pytest.mark.parametrize(
    ("members", "threshold"), [(2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (10, 7), (20, 14), (32, 22)]
)
def test_small_groups_are_complete_and_two_thirds_open(members: int, threshold: int) -> None:
    shape = shape_of(members)
    assert (shape.neighbours, shape.threshold) == (members - 1, threshold)
    assert threshold_of(members) == threshold
    assert 2 * threshold > members  # two sets of so many meet


def hypergeometric_above(population: int, marked: int, draws: int, bound: int) -> float:
    total = comb(population, draws)
    return sum(comb(marked, k) * comb(population - marked, draws - k) / total for k in range(bound + 1, draws + 1))


@pytest.mark.parametrize("members", [33, 50, 100, 200, 500])
def test_larger_groups_are_sparse_as_the_assumptions_allow(members: int) -> None:
    shape = shape_of(members)
    k, t, tenth = shape.neighbours, shape.threshold, members // 10
    assert k < members - 1
    assert k % 2 == 0
    # Two sets of t holders of k + 1 would not share an honest one; fewer than t neighbours are left.
    assert members * hypergeometric_above(members - 1, tenth, k, 2 * t - k - 2) < 2**-40
    assert members * hypergeometric_above(members - 1, tenth, k, k - t) < 2**-20


@pytest.mark.parametrize(("members", "known"), [(50, 16), (100, 31), (200, 55), (500, 82)])
def test_the_sizes_are_near_those_of_an_earlier_independent_count(members: int, known: int) -> None:
    assert 0 <= shape_of(members).neighbours - known <= 2


@pytest.mark.parametrize(("members", "neighbours"), [(2, 1), (5, 4), (5, 9), (COMPLETE_UP_TO, 31)])
def test_a_complete_graph_joins_all(members: int, neighbours: int) -> None:
    graph = neighbourhoods(range(members), neighbours, T)
    assert all(graph[index] == tuple(other for other in range(members) if other != index) for index in range(members))


@pytest.mark.parametrize(("members", "neighbours"), [(7, 4), (33, 12), (101, 32)])
def test_a_sparse_graph_is_regular_symmetric_and_connected(members: int, neighbours: int) -> None:
    graph = neighbourhoods(range(100, 100 + members), neighbours, T)
    assert {len(set(each)) for each in graph.values()} == {neighbours}
    for index, each in graph.items():
        assert index not in each
        assert list(each) == sorted(each)
        assert all(index in graph[other] for other in each)
    reached, waiting = {100}, [100]
    while waiting:
        new = set(graph[waiting.pop()]) - reached
        reached |= new
        waiting += new
    assert reached == set(graph)


def test_the_transcript_draws_the_graph() -> None:
    assert neighbourhoods(range(40), 14, T) == neighbourhoods(range(40), 14, T)
    assert neighbourhoods(range(40), 14, T) != neighbourhoods(range(40), 14, b"\1" * 32)
