"""Control's admin API: what people and programs ask of a running system."""
