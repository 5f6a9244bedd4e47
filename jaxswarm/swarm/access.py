"""Who belongs to a private swarm: whoever knows its secret, whose key is listed, or both.

Two locks. At the door, each call and each answer carries a proof: an HMAC of the caller's peer id
under the secret. libp2p has authenticated that id, so a proof that somebody overheard opens nothing
for another. On the records, ChaCha20-Poly1305 under a key of each peer's own, with the place of the
record bound in, so that one who gets hold of a record can neither read it nor pass it off as his.
An open swarm has neither: everybody belongs, and records are plain.
"""

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from jaxswarm.errors import InputError
from jaxswarm.host.paths import typed
from jaxswarm.swarm.refusal import Reason, RefusedError

SAME_ACCESS = "give all nodes the same swarm.name, swarm.secret_file and swarm.allowed_peers"
"""What to do about a peer that turns a node away."""

MIN_SECRET_BYTES = 16
_NONCE_BYTES = 12
_PEER_ID = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")
_COST = 2**15
"""Of scrypt: a tenth of a second and 32 MiB for each guess at a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """`key`: made from the secret; None: there is none. `allowed`: peer ids; None: everybody's."""

    key: bytes | None = field(default=None, repr=False)
    allowed: frozenset[str] | None = None

    def including(self, peer: str) -> "Access":
        """The same, with one peer more on the list if there is one: oneself."""
        return self if self.allowed is None else replace(self, allowed=self.allowed | {peer})

    def proof(self, peer: str) -> bytes:
        """What shows that `peer` knows the secret; b"" where there is none."""
        return b"" if self.key is None else _digest(self.key, b"member", peer)

    def lists(self, peer: str) -> bool:
        """Whether the list, if there is one, has this peer."""
        return self.allowed is None or peer in self.allowed

    def admits(self, peer: str, proof: bytes) -> bool:
        """Whether an authenticated peer that shows this proof belongs to the swarm.

        To an open one nobody belongs who comes with a secret: he is looking for another.
        """
        return self.lists(peer) and hmac.compare_digest(self.proof(peer), proof[:64])

    def seal(self, payload: bytes, record_id: bytes, peer: str) -> bytes:
        """A payload of `peer` for its place in the DHT, unreadable without the secret."""
        if self.key is None:
            return payload
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(peer).encrypt(nonce, payload, record_id)

    def unseal(self, sealed: bytes, record_id: bytes, peer: str) -> bytes:
        """The payload again.

        Raises:
          RefusedError: the peer isn't listed, or it was not sealed by it, for this place, with the
            secret.
        """
        if not self.lists(peer):
            raise RefusedError(Reason.OUTSIDER)
        if self.key is None:
            return sealed
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher(peer).decrypt(nonce, rest, record_id)
        except (InvalidTag, ValueError) as error:
            raise RefusedError(Reason.OUTSIDER) from error

    def _cipher(self, peer: str) -> ChaCha20Poly1305:
        # A key for each peer: random nonces of all peers together could meet in a long run.
        assert self.key is not None
        return ChaCha20Poly1305(_digest(self.key, b"records", peer))


def load(swarm: str, secret_file: str, allowed_peers: str) -> Access:
    """What the config asks for.

    Args:
      swarm: its name; the same secret is another key in another swarm.
      secret_file: a file with the secret; "": none.
      allowed_peers: peer ids separated by commas, or a file with one a line; "": everybody.

    Raises:
      InputError: a file can't be read, the secret is short, or what is listed is no peer id.
    """
    key = _key(swarm, typed(secret_file)) if secret_file else None
    return Access(key, _allowed(allowed_peers) if allowed_peers else None)


def _key(swarm: str, path: Path) -> bytes:
    secret = _read(path, "swarm.secret_file").strip()
    if len(secret) < MIN_SECRET_BYTES:
        raise InputError(
            f"swarm.secret_file {path}",
            got=f"{len(secret)} bytes",
            expected=f"a secret of at least {MIN_SECRET_BYTES} bytes",
            remedy=f"make one by: (umask 077; head -c 32 /dev/urandom | base64 > {path}), and give "
            "the same file to every node",
        )
    scrypt = Scrypt(salt=f"jaxswarm\n{swarm}".encode(), length=32, n=_COST, r=8, p=1)
    return scrypt.derive(secret)


def _allowed(text: str) -> frozenset[str]:
    ids = text.split(",")
    if not all(_PEER_ID.fullmatch(each.strip()) for each in ids):
        lines = _read(typed(text), "swarm.allowed_peers").decode(errors="replace")
        ids = [line.partition("#")[0] for line in lines.splitlines()]
    peers = [each.strip() for each in ids]
    for number, peer in enumerate(peers, start=1):
        if peer and not _PEER_ID.fullmatch(peer):
            # Not shown: who mixed up two flags has named the secret's file here.
            raise InputError(
                "swarm.allowed_peers",
                got=f"{len(peer)} characters in line {number} that are no peer id",
                expected="a peer id like Qm..., one a line",
                remedy="take it from the peer's node.json, or from jaxswarm.doctor there",
            )
    return frozenset(filter(None, peers))


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            what,
            got=f"{path} ({error.strerror})",
            expected="a readable file",
            remedy="check the path and its rights",
        ) from error


def _digest(key: bytes, use: bytes, peer: str) -> bytes:
    return hmac.digest(key, use + b"\n" + peer.encode(), hashlib.sha256)
