"""Keys as the hot path knows them: looked up once, forgotten when their configuration changes."""

from proxy.core.subscriptions import ApiKey, key_digest
from proxy.errors import UnauthorizedError
from proxy.ledger.port import Ledger

MAX_CACHED = 100_000
REMEMBERED_BYTES = 256
"""Longer secrets are hashed each time: nobody may fill the memory with made-up ones."""


class KeyRing:
    """Keys by digest; to be forgotten as soon as the ledger's configuration has moved on."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keys: dict[bytes, ApiKey | None] = {}
        self._digests: dict[bytes, bytes] = {}

    def known(self, secret: bytes | None) -> tuple[bytes, ApiKey] | None:
        """Return a secret's digest and its key, if the key is known to be good."""
        digest = self._digests.get(secret) if secret is not None else None
        key = self._keys.get(digest) if digest is not None else None
        if digest is None or key is None or key.revoked:
            return None
        return digest, key

    async def find(self, secret: bytes, *, again: bool = False) -> tuple[bytes, ApiKey | None]:
        """Return a secret's digest and its key; None for one that the ledger does not know.

        ``again``: ask the ledger, too, if it did not know the key a moment ago.

        Errors: UnauthorizedError for a revoked key, LedgerUnavailableError.
        """
        digest = self._digests.get(secret)
        if digest is None:
            digest = key_digest(secret)
            if len(secret) <= REMEMBERED_BYTES:
                self._digests[secret] = digest
        key = self._keys.get(digest)
        if key is None and (again or digest not in self._keys):
            key = await self._ledger.key(digest)
            if len(self._keys) >= MAX_CACHED:
                self.forget()
            self._keys[digest] = key
        if key is not None and key.revoked:
            raise UnauthorizedError(
                f"The API key {key.prefix}… has been revoked. Ask the operator for a new one."
            )
        return digest, key

    def forget(self) -> None:
        """Look every key up again."""
        self._keys.clear()
        self._digests.clear()
