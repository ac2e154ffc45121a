"""The policy administrator (NIST SP 800-207 PA): sessions, the replica of the facts, the change feed."""
