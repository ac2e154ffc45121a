"""Access logs that people already have, as requests: what a replay can begin with."""
