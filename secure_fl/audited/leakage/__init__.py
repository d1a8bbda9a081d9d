"""What a finished run gives away, measured on its record with the instruments of `audit.leakage`.

    measured       what was measured                                             on what
    noise          the noise of DP, in directions that hold nothing else         the run's own models and updates
    engine         Gaussian audit, one-run bound, noise                          the sites' engine, fed with canaries
    membership     loss threshold, RMIA                                          the run's final model
    reconstruction gradient inversion, bare and protected                        a small network of the same kind
    models         manifest and trap weights                                     the models that the sites were sent

`measure_leakage` joins them; the modules can be used alone.
"""

from secure_fl.audited.leakage.measured import measure_leakage

__all__ = ["measure_leakage"]
