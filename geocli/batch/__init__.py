"""Batches: many addresses at once."""
