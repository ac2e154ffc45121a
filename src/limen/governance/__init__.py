"""Access kept to what is needed: least-privilege proposals, and what access control costs people."""
