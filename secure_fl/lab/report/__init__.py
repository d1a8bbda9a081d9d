"""A comparison for people and for other programs: one HTML page, CSV, JSON and LaTeX, all from the same `Findings`."""
