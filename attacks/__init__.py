"""Simulated adversaries of a federation: pure functions that turn an honest update into a hostile one.

Empty so far. To come: attacks in update space, data space and on the wire, each with the paper, section and
equation that it follows, and scenario files that say which site does what. The same objects will serve the local
grid and real site processes. Nothing here imports Flower or any other package of ours.
"""
