"""Measurements of what the project claims: `python -m benchmarks.NAME [--quick] [--json]`, one script a claim.

Run them from a checkout; they are no part of the installed package. `benchmarks.report` is the language that
all of them speak.
"""
