"""Envoy as the enforcement point of web apps: its configuration as values, its life as a child process.

Laws:
    E1 apps never touch a listener: adding, changing or removing an app changes RDS, CDS and, for a
        host outside the domain, SDS; so it ends no connection.
    E2 fail closed: a request reaches an app only after the check answered 200 or the leash let it pass, and
        a service only after the leash did.
    E3 last good: a configuration that Envoy refuses is never left in place, and the refusal is said.
    E4 one decider: of the requests that reach an app or a service, each is decided once, by the leash if it
        is a live stream and by the check otherwise.
"""
