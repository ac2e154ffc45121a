"""Limen: a self-hosted zero-trust access platform."""
