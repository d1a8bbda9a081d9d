"""Differential privacy: exact DP-SGD, its randomness, its accounting, and the ledger of what was spent.

Nothing here knows of federations, data sets or architectures. The modules are imported by name; `accounting`,
`planning` and `ledger` are free of torch until an accountant is asked.
"""

__all__: list[str] = []
