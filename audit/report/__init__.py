"""The audit as documents: one value (`document.Document`), and what is drawn from it for people and for machines."""
