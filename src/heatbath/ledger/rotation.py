"""The rotation of a log's key: the new key signs beside the old one, until that is retired.

Both steps are entries of the log, and both can be repeated after a process was killed in between. Whoever has either
key verifies the checkpoints in between; afterwards the new one is needed.
"""

from __future__ import annotations

import hashlib

from heatbath.errors import BadInput
from heatbath.ledger.ledger import Ledger
from heatbath.ledger.signed_note import VerifierKey, create_signer_key


def add_key(ledger: Ledger) -> VerifierKey:
    """Add a new key to a ledger, record it, publish under both keys, and return its public key.

    Raises:
        BadInput: there are two keys already.
    """
    with ledger.storage.lock():
        keys = ledger.keys.read()
        if len(keys) == 1:
            ledger.keys.replace((*keys, create_signer_key(ledger.origin)))
    added = ledger.verifier_keys[-1]
    _record(ledger, "key_added", added)
    if len(keys) > 1:
        raise BadInput(f"the ledger has two keys, the new one {added}: retire the old one with --retire first.")
    return added


def retire_key(ledger: Ledger) -> VerifierKey:
    """Record and remove the old key of a ledger, and return it.

    Raises:
        BadInput: there is one key only.
    """
    old, *rest = ledger.verifier_keys
    if not rest:
        raise BadInput("the ledger has one key: add another with rotate before one is retired.")
    _record(ledger, "key_retired", old)
    with ledger.storage.lock():
        # The last checkpoint is signed by both keys, so that it stays valid under the one that is left.
        keys = ledger.keys.read()
        ledger.keys.replace(tuple(key for key in keys if key.verifier != old))
    return old


def _record(ledger: Ledger, event: str, key: VerifierKey) -> None:
    identity = hashlib.sha256(f"{event} {key}".encode()).hexdigest()[:32]
    ledger.append({"event": event, "key": str(key)}, entry_id=identity)
    ledger.publish()
