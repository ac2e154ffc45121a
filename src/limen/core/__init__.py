"""The vocabulary of Limen: frozen values, enums, ids, limits and ports. No I/O lives here."""
