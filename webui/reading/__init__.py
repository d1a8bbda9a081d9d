"""What the folders of a home say, as plain values for pages and the API.

Run records, comparisons, audits and ledgers go in; frozen dataclasses come out. Nothing in here knows of HTTP, writes
a file, or imports Flower, Opacus or PyTorch: what those would have to compute is read from what a run wrote down.
"""
