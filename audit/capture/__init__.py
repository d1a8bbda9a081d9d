"""Packets from the kernel into a file, with an account of those that were lost."""
