"""Identity: proofs of who somebody is. Nothing here reads or writes the database."""
