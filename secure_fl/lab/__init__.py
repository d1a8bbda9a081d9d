"""The Byzantine lab: poisoned federations in one process, exact to the last bit and fast enough for thousands.

    Scenario ──► simulate ──► Outcome            what was asked, what happened in each round, and its hash
    (TOML)          │
                    └──► UpdateRecord ──► reaggregate     the same updates under another defense, in seconds

Data, attacks and defenses are the objects that real runs use; only transport, signatures and quarantine are left out.
The modules are imported by name: `scenario` and `outcome` are free of torch.
"""

__all__: list[str] = []
