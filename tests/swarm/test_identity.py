import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from jaxswarm.errors import InputError
from jaxswarm.swarm import identity
from jaxswarm.swarm.identity import open_identity, owner_tag, peer_of, peer_of_packed

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_the_key_is_made_once_and_the_peer_id_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.key"
    first = open_identity(path)
    first.close()
    second = open_identity(path)
    second.close()
    assert first.peer == second.peer
    assert first.tag == second.tag
    assert first.peer.startswith("Qm")
    assert len(first.peer) == 46


def test_the_key_file_is_its_owners_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    open_identity(tmp_path / "identity.key").close()
    assert os.listdir(tmp_path) == ["identity.key"]
    assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o400


def test_two_live_owners_are_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = open_identity(tmp_path / "key")
    with pytest.raises(InputError, match="in use by a live node on this machine"):
        open_identity(tmp_path / "key")
    first.close()
    open_identity(tmp_path / "key").close()


def test_a_killed_owner_holds_the_file_no_longer(tmp_path: Path) -> None:
    open_identity(tmp_path / "key").close()
    program = (
        "import pathlib, sys, time; from jaxswarm.swarm.identity import open_identity;"
        "open_identity(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="in use"):
            open_identity(tmp_path / "key")
        owner.kill()
    open_identity(tmp_path / "key").close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN RSA PRIVATE KEY-----\n",
        b"\x08\x00\x12\x03abc",
        b"\x08\x01\x12\x03abc",
        b"\0" * 20_000,
    ],
)
def test_a_file_that_is_no_key_is_said_to_be_none_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no key of a node.*expected an RSA key"):
        open_identity(path)
    assert path.read_bytes() == content


def test_a_torn_key_file_is_refused(tmp_path: Path) -> None:
    open_identity(tmp_path / "whole").close()
    (tmp_path / "torn").write_bytes((tmp_path / "whole").read_bytes()[:-1])
    with pytest.raises(InputError, match="no key of a node"):
        open_identity(tmp_path / "torn")


def test_a_key_too_short_to_be_safe_is_refused(tmp_path: Path) -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    der = short.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (tmp_path / "key").write_bytes(identity._message(der))
    with pytest.raises(InputError, match="2048 to 4096 bits"):
        open_identity(tmp_path / "key")


@pytest.mark.parametrize("name", [".", "file/key"])
def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"identity file .*expected a readable key file"):
        open_identity(tmp_path / name)


def test_the_tag_names_its_peer(key: rsa.RSAPrivateKey) -> None:
    tag = owner_tag(key.public_key())
    assert peer_of(tag) == identity.peer_id(key.public_key())
    assert peer_of_packed(msgpack.packb(tag)) == peer_of(tag)


def test_one_key_has_one_tag(key: rsa.RSAPrivateKey) -> None:
    tag = owner_tag(key.public_key())
    for other in (
        tag[:-1] + b" a comment]",
        tag + b" ",
        b" " + tag,
        tag.replace(b"[owner:", b"[owner: "),
        tag[:-1],
        tag.decode(),
        None,
        b"[owner:]",
        b"[owner:ssh-rsa AAAA]",
        b"[owner:" + b"A" * 5000 + b"]",
    ):
        with pytest.raises(ValueError, match=r"no |Invalid"):
            peer_of(other)


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x81\xc0\xc0", b"\xc4\x01"])
def test_a_packed_tag_that_is_none_is_a_value_error(packed: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 msgpack's own words differ
        peer_of_packed(packed)


def test_keys_of_other_kinds_and_sizes_have_no_tag() -> None:
    strange = ed25519.Ed25519PrivateKey.generate().public_key()
    text = strange.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    with pytest.raises(ValueError, match="no RSA key"):
        peer_of(b"[owner:" + text + b"]")
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    with pytest.raises(ValueError, match="accepted size"):
        peer_of(owner_tag(short))


def test_a_key_of_another_exponent_has_no_tag_and_is_no_identity(tmp_path: Path) -> None:
    """With a large one each check of a signature would take as long as hundreds of others."""
    strange = rsa.generate_private_key(public_exponent=3, key_size=2048)
    with pytest.raises(ValueError, match="accepted size and exponent"):
        peer_of(owner_tag(strange.public_key()))
    huge = rsa.RSAPublicNumbers((1 << 2047) + 1, strange.public_key().public_numbers().n)
    with pytest.raises(ValueError, match="accepted size and exponent"):
        peer_of(owner_tag(huge.public_key()))
    (tmp_path / "key").write_bytes(identity._packed(strange))
    with pytest.raises(InputError, match="the exponent 65537"):
        open_identity(tmp_path / "key")


def test_making_an_identity_offers_a_backup_once(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    made = open_identity(path)
    made.close()
    assert f"cp -p {path} PLACE" in made.news
    again = open_identity(path)
    again.close()
    assert again.news == ""


def test_a_lost_identity_is_put_back_from_its_backup(tmp_path: Path) -> None:
    path, backup = tmp_path / "run" / "identity.key", tmp_path / "elsewhere" / "backup.key"
    made = open_identity(path, backup)
    made.close()
    assert "made" in made.news
    assert f"Copied to {backup}." in made.news
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400
    path.unlink()
    found = open_identity(path, backup)
    found.close()
    assert found.peer == made.peer
    assert found.news == f"Identity file {path} was lost; put back from {backup}."


def test_where_a_file_system_has_no_links_there_is_an_identity_and_a_backup_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path, backup = tmp_path / "key", tmp_path / "stick" / "backup"
    made = open_identity(path, backup)
    made.close()
    assert path.read_bytes() == backup.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert sorted(file.name for file in tmp_path.iterdir()) == ["key", "stick"]
    again = open_identity(path, backup)
    again.close()
    assert again.peer == made.peer


def test_a_key_that_was_made_before_is_backed_up_at_the_next_start(tmp_path: Path) -> None:
    open_identity(tmp_path / "key").close()
    later = open_identity(tmp_path / "key", tmp_path / "backup")
    later.close()
    assert later.news == f"Copied to {tmp_path / 'backup'}."
    assert (tmp_path / "backup").read_bytes() == (tmp_path / "key").read_bytes()


def test_the_backup_of_a_live_node_makes_nobody_else_that_node(tmp_path: Path) -> None:
    live = open_identity(tmp_path / "key", tmp_path / "backup")
    with pytest.raises(InputError, match=rf"identity file {tmp_path / 'backup'}: got 'in use by"):
        open_identity(tmp_path / "other", tmp_path / "backup")
    assert not (tmp_path / "other").exists()
    live.close()


def test_a_backup_that_holds_another_key_is_refused(tmp_path: Path) -> None:
    open_identity(tmp_path / "key").close()
    open_identity(tmp_path / "other").close()
    with pytest.raises(InputError, match=rf"identity file {tmp_path / 'other'}: got 'the key of"):
        open_identity(tmp_path / "key", tmp_path / "other")
    open_identity(tmp_path / "key").close()


def test_a_key_is_no_backup_of_itself(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "key")
    for backup in (tmp_path / "key", tmp_path / "link"):
        with pytest.raises(InputError, match=rf"backup {backup}: got 'the identity file itself'"):
            open_identity(tmp_path / "key", backup)
    assert not (tmp_path / "key").exists()


def test_a_torn_key_names_the_backup_and_a_torn_backup_itself(tmp_path: Path) -> None:
    path, backup = tmp_path / "key", tmp_path / "backup"
    open_identity(path, backup).close()
    path.chmod(0o600)
    path.write_bytes(backup.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"identity file {path}.*cp {backup} {path}"):
        open_identity(path, backup)
    path.unlink()
    backup.chmod(0o600)
    backup.write_bytes(b"torn")
    with pytest.raises(InputError, match=rf"identity file {backup}: got '4 bytes that are no key"):
        open_identity(path, backup)
    assert not path.exists(), "no new identity is made where a backup should have served"


def test_a_backup_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"identity file {tmp_path / 'file' / 'backup'}"):
        open_identity(tmp_path / "key", tmp_path / "file" / "backup")


def test_a_key_file_that_is_removed_under_a_live_node_is_written_again(tmp_path: Path) -> None:
    live = open_identity(tmp_path / "key")
    assert not live.put_back()
    content = live.path.read_bytes()
    live.path.unlink()
    assert live.put_back()
    assert live.path.read_bytes() == content
    with pytest.raises(InputError, match="in use by a live node"):
        open_identity(tmp_path / "key")
    live.close()
