"""What stands between the sites' updates and the global model: pure functions of vectors (d,) or matrices (n, d).

`guard` judges each update by itself (finite, shape, type, norm cap). `registry.build` makes a defense of names: any
pre-aggregators, then a rule, each with a statement of what it tolerates, when it breaks and what it costs
(docs/reference/defenses.md). Beneath, `gram` and `coordinates` hold the two ways in which all rules read the data: by
inner products, or coordinate by coordinate. Nothing here imports Flower, torch or any other package of ours.
"""
