"""Check a proof of `limen audit prove`: python3 check_proof.py PROOF.json VERIFIER_KEY

Needs Python 3.11 and `pip install cryptography`, nothing of Limen. The key: see `limen audit key`.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def check(holds: object, why: str) -> None:
    """Stop at the first thing that is wrong."""
    holds or sys.exit(f"NOT proven: {why}")


proof = json.loads(Path(sys.argv[1]).read_text("utf-8"))
name, key_id, encoded = sys.argv[2].split("+", 2)
key = base64.b64decode(encoded, validate=True)

# 1. The key is the one that its text says (C2SP signed-note).
check(hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id, "the key is damaged")

# 2. It signed the checkpoint. Type 1 signs the text, type 4 the text and a time (C2SP tlog-cosignature).
text, _, lines = proof["checkpoint"].rpartition("\n\n")
signature = b""
for line in lines[:-1].split("\n"):
    _, signer, blob = line.split(" ")
    raw = base64.b64decode(blob, validate=True)
    signature = raw[4:] if signer == name and raw[:4].hex() == key_id else signature
check(signature, "the key did not sign this checkpoint")
message = f"{text}\n".encode()
if key[0] == 4:
    message = f"cosignature/v1\ntime {int.from_bytes(signature[:8])}\n".encode() + message
    signature = signature[8:]
Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, message)  # raises if it is false

# 3. The checkpoint states the tree: of its own boot, or of the boot before it (its line `after`).
log, size, root, *more = text.split("\n")
boot = log.rpartition("/")[2]
if proof["tree"] == "after":
    boot, size, root = next(line for line in more if line.startswith("after ")).split(" ")[1:]
check(log.split("/")[-2] == proof["node"] and boot == proof["boot"], "the checkpoint is of another log")

# 4. The path leads from the record to the root (RFC 9162 section 2.1.3.2).
found = hashlib.sha256(b"\x00" + proof["record"].encode()).digest()
fn, sn = proof["index"], int(size) - 1
check(0 <= fn <= sn, "the record is not in the tree")
for step in (bytes.fromhex(step) for step in proof["path"]):
    check(sn, "the path is too long")
    left = fn & 1 or fn == sn
    found = hashlib.sha256(b"\x01" + (step + found if left else found + step)).digest()
    while left and not fn & 1 and fn:
        fn, sn = fn >> 1, sn >> 1
    fn, sn = fn >> 1, sn >> 1
check(sn == 0 and found == base64.b64decode(root), "the record is not in the log that was signed")
print(f"proven: record {proof['index']} of {proof['node']}, boot {proof['boot']}\n{proof['record']}")
