"""The only place that speaks SQL: one file a noun, each a small class over `Database`."""
