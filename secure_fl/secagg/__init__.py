"""Secure aggregation: the coordinator learns the sum of the sites' updates, and nothing else about any of them.

A protocol core without I/O, clock or federation: numbers in a ring, masks that cancel, secret shares that let masks
of sites that dropped out be removed, and the state machines of a site and of the coordinator. Modules are imported
by name.
"""

__all__: list[str] = []
