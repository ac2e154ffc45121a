"""The leash: decides whatever may be a live stream, and holds what it opened until its reason ends."""
