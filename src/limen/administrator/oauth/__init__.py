"""Limen as an authorization server: who may have which token, decided as requests are."""
