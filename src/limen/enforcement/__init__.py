"""Policy enforcement points: what stands in the way of a request until a decision lets it pass."""
