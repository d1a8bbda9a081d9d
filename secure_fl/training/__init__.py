"""Learning on one machine: local SGD, evaluation, classification, and the seeds that make it repeatable.

Nothing here knows of federations. The modules are imported by name; `seeds` alone is free of torch.
"""

__all__: list[str] = []
