"""The rules and pre-aggregators, grouped by the idea behind them; `defenses.registry` knows them by name."""
