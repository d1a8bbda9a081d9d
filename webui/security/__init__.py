"""What every response carries, and how a refusal looks."""
