"""The audit of a run of ours: what its wire may hold, what its pictures look like, and the report made from its record.

`audit` knows nothing of this house; here it is told. `schema` says what our messages are, `sections` what a run record
says of itself, `conclusion` puts record and evidence together into a signed bundle, `recheck` does it again from the
bundle alone.
"""
