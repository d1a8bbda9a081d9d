"""Simulated adversaries of a federation: pure functions that turn an honest update into a hostile one.

All of them are published; each names its paper, section and equation, and is here so that defenses can be compared.
Three spaces: what a client sends (update space), what it trains on (data space), and how it speaks (wire space).
`registry.build` makes each by its name; `base` says what an adversary may know. The same objects serve the simulation
and real site processes. Nothing here imports Flower, torch or any other package of ours.
"""
