"""The audit as documents: a page for people, signed statements for machines."""
