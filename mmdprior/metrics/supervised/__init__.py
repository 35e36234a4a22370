"""Supervised disentanglement metrics: codes against known factors of variation."""
