"""`limen conformance`: proof, on a running system, that every open connection ends when its reason does."""
