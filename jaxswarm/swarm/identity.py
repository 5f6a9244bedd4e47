"""Who a node is: an RSA key in a file, the peer id that follows, and one live owner at a time.

The file has libp2p's form, so hivemind's own tools read it and it reads theirs: a protobuf message
of key type and DER bytes. A peer id is the hash of the public key (libp2p's peer-id specification),
so a record's owner tag, which holds the key, proves whose record it is.
"""

import errno
import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import base58
import msgpack
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from jaxswarm.errors import InputError
from jaxswarm.host.locks import hold

KEY_BITS = 2048
MAX_KEY_BITS = 4096
PUBLIC_EXPONENT = 65537
"""Of every key that hivemind or libp2p makes. Larger keys of peers and other exponents are refused:
each check of a signature would cost more."""

_MAX_FILE_BYTES = 16 * 1024
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system says that has no hard links. ENOTSUP is EOPNOTSUPP on Linux."""
_KEY_TYPE_RSA = b"\x08\x00"  # protobuf: field 1, varint 0
_DATA_TAG = b"\x12"  # protobuf: field 2, bytes
_SHA2_256 = b"\x12\x20"  # multihash: function and length
_TAG_START, _TAG_END = b"[owner:", b"]"
_MAX_TAG_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's key, held for as long as it lives.

    `peer`: its id in the swarm. `tag`: hivemind's owner mark, the subkey of all that it signs.
    `news`: what a person should know of the file, "" if nothing: it was made, or put back.
    """

    path: Path
    private_key: rsa.RSAPrivateKey
    peer: str
    tag: bytes
    news: str
    _held: ExitStack

    def put_back(self) -> bool:
        """Writes the file again, and holds it, if somebody removed it. Whether it had to.

        Raises:
          OSError: it can't be written.
          InputError: another node has put a file there and holds it.
        """
        if self.path.exists():
            return False
        _write(self.path, _packed(self.private_key))
        _hold(self.path, self._held)
        return True

    def close(self) -> None:
        """Lets another node take the file."""
        self._held.close()


def open_identity(path: Path, backup: Path | None = None) -> Identity:
    """Reads the key at `path`, makes one where there is none, and holds it against other nodes.

    The hold ends with the process, however it ends.

    Args:
      path: the key file.
      backup: a second place. The key is put back from there if it is lost, and copied there if
        that has none.

    Raises:
      InputError: the file is no key, can't be read or made, or a live node uses it; likewise the
        backup, or it is the key of another peer, or the key file itself.
    """
    check_places(path, backup)
    with ExitStack() as held:
        if backup and _is_there(backup):
            _hold(backup, held)  # else the key of a live node would be put back
        try:
            news = "" if path.exists() else _make_or_put_back(path, backup)
            data = os.read(_hold(path, held), _MAX_FILE_BYTES)
        except OSError as error:
            raise _explained(path, error) from error
        private_key = parse(path, data, backup)
        if backup and _back_up(private_key, backup):
            _hold(backup, held)
            news = f"{news} Copied to {backup}.".strip()
        public_key = private_key.public_key()
        identity = peer_id(public_key), owner_tag(public_key)
        return Identity(path, private_key, *identity, news, held.pop_all())


def check_places(path: Path, backup: Path | None) -> None:
    """Raises InputError if the backup is the key file itself."""
    if backup and backup.resolve() == path.resolve():
        raise InputError(
            f"identity backup {backup}",
            got="the identity file itself",
            expected="a second place, best on another disk",
            remedy="name another place by --config.swarm.identity_backup",
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # below what may not be entered
        raise _explained(path, error) from error


def _hold(path: Path, held: ExitStack) -> int:
    """The descriptor by which the file is held, and can be read."""
    try:
        descriptor = hold(path)
    except OSError as error:
        raise _explained(path, error) from error
    held.callback(os.close, descriptor)
    return descriptor


def _make_or_put_back(path: Path, backup: Path | None) -> str:
    if backup and backup.exists():
        data = backup.read_bytes()
        parse(backup, data)
        _write(path, data)
        return f"Identity file {path} was lost; put back from {backup}."
    key = rsa.generate_private_key(public_exponent=PUBLIC_EXPONENT, key_size=KEY_BITS)
    _write(path, _packed(key))
    made = f"A new identity was made, {path}: without it this node is another peer."
    if backup:
        return made
    return f"{made} Keep a copy: cp -p {path} PLACE, or --config.swarm.identity_backup=PLACE."


def _back_up(key: rsa.RSAPrivateKey, backup: Path) -> bool:
    """Whether there was no backup; there is one now. Raises InputError if it is of another key."""
    try:
        is_new = not backup.exists()
        if is_new:
            _write(backup, _packed(key))
        kept = parse(backup, backup.read_bytes())
    except OSError as error:
        raise _explained(backup, error) from error
    peer, expected = peer_id(kept.public_key()), peer_id(key.public_key())
    if peer != expected:
        raise InputError(
            f"identity file {backup}",
            got=f"the key of another peer, {peer}",
            expected=f"a copy of this node's, {expected}, or a place to make one",
            remedy="name another place by --config.swarm.identity_backup",
        )
    return is_new


def _explained(path: Path, error: OSError) -> InputError:
    if isinstance(error, BlockingIOError):
        return InputError(
            f"identity file {path}",
            got="in use by a live node on this machine",
            expected="one identity for each node",
            remedy="stop that node, or give this one another identity file",
        )
    return InputError(
        f"identity file {path}",
        got=error.strerror or str(error),
        expected="a readable key file, or a place to make one",
        remedy="check the path and its rights, or name another one",
    )


def peer_id(public_key: rsa.RSAPublicKey) -> str:
    """libp2p's id of the owner of this key, "Qm...": base58 of the multihash of the packed key."""
    der = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashlib.sha256(_message(der)).digest()
    return base58.b58encode(_SHA2_256 + digest).decode()


def owner_tag(public_key: rsa.RSAPublicKey) -> bytes:
    """hivemind's mark of a protected record: [owner:<key in OpenSSH's form>]."""
    key = public_key.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return _TAG_START + key + _TAG_END


def peer_of(tag: object) -> str:
    """The peer whose owner tag this is.

    Raises:
      ValueError: it is not exactly the tag of one RSA key, which leaves one key no second tag.
    """
    if not isinstance(tag, bytes) or len(tag) > _MAX_TAG_BYTES:
        raise ValueError("no owner tag")
    if not tag.startswith(_TAG_START) or not tag.endswith(_TAG_END):
        raise ValueError("no owner tag")
    try:
        public_key = serialization.load_ssh_public_key(tag[len(_TAG_START) : -len(_TAG_END)])
    except UnsupportedAlgorithm as error:
        raise ValueError("no RSA key") from error
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise ValueError("no RSA key")
    if not _is_accepted(public_key) or owner_tag(public_key) != tag:
        raise ValueError("no plain RSA key of an accepted size and exponent")
    return peer_id(public_key)


def peer_of_packed(subkey: bytes) -> str:
    """`peer_of` for a tag as it travels, packed by msgpack. Raises ValueError like it."""
    try:
        return peer_of(msgpack.unpackb(subkey))
    except TypeError as error:
        raise ValueError("no owner tag") from error


def _is_accepted(key: rsa.RSAPublicKey) -> bool:
    return KEY_BITS <= key.key_size <= MAX_KEY_BITS and key.public_numbers().e == PUBLIC_EXPONENT


def _packed(key: rsa.RSAPrivateKey) -> bytes:
    return _message(
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _write(path: Path, data: bytes) -> None:
    """Writes a key file whole. Of two nodes that try at once, one wins and the other reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)


def _put(draft: Path, path: Path) -> None:
    """Gives a file its name. Raises FileExistsError where there is one of that name."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A memory stick, or a bucket that is mounted, has no links. The name is taken before the
        # file is there: another node that looks meanwhile finds no key, says so and ends.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400))
        draft.replace(path)


def parse(path: Path, data: bytes, backup: Path | None = None) -> rsa.RSAPrivateKey:
    """The key in a key file's bytes. Raises InputError if there is none."""
    try:
        key = serialization.load_der_private_key(_message_data(data), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("no RSA key")
        if not _is_accepted(key.public_key()):
            raise ValueError("no RSA key of an accepted size and exponent")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        again = f"cp {backup} {path}" if backup and backup.exists() else "put a backup of it back"
        raise InputError(
            f"identity file {path}",
            got=f"{len(data)} bytes that are no key of a node",
            expected=f"an RSA key of {KEY_BITS} to {MAX_KEY_BITS} bits and the exponent "
            f"{PUBLIC_EXPONENT} in libp2p's protobuf form",
            remedy=f"{again}, or name a path where none is: a new key is made there",
        ) from error
    return key


def _message(der: bytes) -> bytes:
    """libp2p's key message: type RSA, then the bytes with their length as a protobuf varint."""
    length, rest = b"", len(der)
    while rest >= 0x80:
        length, rest = length + bytes([rest & 0x7F | 0x80]), rest >> 7
    return _KEY_TYPE_RSA + _DATA_TAG + length + bytes([rest]) + der


def _message_data(message: bytes) -> bytes:
    """The DER bytes of a key message. Raises ValueError if it is not exactly one of an RSA key."""
    start = len(_KEY_TYPE_RSA + _DATA_TAG)
    for width in (1, 2, 3):  # of the length, which is the one field of variable width
        der = message[start + width :]
        if der and _message(der) == message:
            return der
    raise ValueError("no libp2p RSA key message")
