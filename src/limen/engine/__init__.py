"""The policy engine (NIST SP 800-207 PE): bundles, decisions, explanations. Pure: it never fetches."""
