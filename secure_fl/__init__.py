"""Secure FL: federated image classification that a hospital, a bank or a lab can trust."""

__all__ = ["__version__"]

__version__ = "0.1.0"
