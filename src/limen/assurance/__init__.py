"""Assurance: how far the rollout is, measured from what was recorded."""
