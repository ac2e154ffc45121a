"""Envoy as the enforcement point of web apps: its configuration as values, its life as a child process.

Laws:
    E1 apps never touch a listener: adding, changing or removing an app changes RDS, CDS and, for a
        host outside the domain, SDS; so it ends no connection.
    E2 fail closed: an app's route reaches the upstream only after the check answered 200.
    E3 last good: a configuration that Envoy refuses is never left in place, and the refusal is said.
"""
