"""The check: Envoy asks about every request, and gets the answer that the client or the app shall see."""
