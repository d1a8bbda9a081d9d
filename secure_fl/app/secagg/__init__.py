"""Secure aggregation in real runs: Flower's messages around the protocol of `secure_fl.secagg`."""

__all__: list[str] = []
