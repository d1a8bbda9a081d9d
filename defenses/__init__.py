"""What stands between the sites' updates and the global model: pure functions of vectors (d,) or matrices (n, d).

So far `guard` alone: it judges each update by itself (finite, shape, type, norm cap). Updates that pass are averaged
(FedAvg), and a single hostile site can still steer that mean as far as the norm cap allows. To come: aggregation
rules in Gram space, coordinate-wise kernels and pre-aggregators, each with a statement of what it tolerates,
when it breaks and what it costs. Nothing here imports Flower or any other package of ours.
"""
