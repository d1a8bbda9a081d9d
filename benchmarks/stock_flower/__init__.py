"""The peer of `benchmarks.round_overhead`: Flower 1.41 as it comes, on one machine.

Its own `flower-superlink` over TLS with SuperNode authentication, its own `flower-supernode` processes, its own
FedAvg with its own `start()` loop, and one array a layer (`ArrayRecord(state_dict)`), as its tutorials do it.
Only the job is ours (`job.py`), so that both sides train the same network on the same images with the same code.

    job.py          what is trained: one RunConfig, and a site's share of a round
    client_app.py   the ClientApp: receive a state dict, do the share, send it back
    server_app.py   the ServerApp: stock FedAvg with a clock around each round
    deployment.py   the processes: started, watched, and all of them ended
    measure.py      one measurement, a row a round

Nothing is imported here: Flower loads the apps in processes of its own, and each import costs them seconds.
"""
