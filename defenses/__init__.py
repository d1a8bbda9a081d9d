"""Aggregation that withstands malicious sites: pure functions of the updates, a matrix (n, d), one row a client.

Empty so far; until it is filled, a run aggregates by the weighted mean (FedAvg), which a single hostile site
can steer as far as the norm cap of the configuration allows. To come: rules in Gram space, coordinate-wise
kernels, pre-aggregators, each with a statement of what it tolerates, when it breaks and what it costs.
Nothing here imports Flower or any other package of ours.
"""
