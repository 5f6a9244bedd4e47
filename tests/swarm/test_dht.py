"""Where our own forms must be hivemind's, and what is refused before a daemon is started."""

from pathlib import Path

import pytest
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.routing import DHTID
from hivemind.p2p import P2P, PeerID
from hivemind.utils.multiaddr import Multiaddr

from jaxswarm.errors import InputError
from jaxswarm.swarm import keys
from jaxswarm.swarm.addresses import check_addresses, first_legible, peer_in, way_to
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.dht_exchange import DhtExchange
from jaxswarm.swarm.identity import open_identity
from jaxswarm.swarm.manifest import Manifest

PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
MANIFEST = Manifest(data="d1", question_seed=7, questions_per_round=4, prompts="terse 1")


def test_keys_are_filed_where_hivemind_files_them() -> None:
    key = keys.members("swarm é")
    assert keys.record_id(key) == DHTID.generate(key).to_bytes()


def test_hivemind_reads_our_key_file_and_we_read_its(tmp_path: Path) -> None:
    ours = open_identity(tmp_path / "ours")
    ours.close()
    assert ours.peer == str(PeerID.from_identity((tmp_path / "ours").read_bytes()))
    P2P.generate_identity(str(tmp_path / "theirs"))
    theirs = open_identity(tmp_path / "theirs")
    theirs.close()
    assert theirs.peer == str(PeerID.from_identity((tmp_path / "theirs").read_bytes()))


def test_our_owner_tag_is_the_one_under_which_hivemind_signs(tmp_path: Path) -> None:
    from jaxswarm.swarm.dht_guard import _NodeKey

    identity = open_identity(tmp_path / "key")
    identity.close()
    key = _NodeKey(identity.private_key)
    assert RSASignatureValidator(key).local_public_key == identity.tag


@pytest.mark.parametrize(
    ("flag", "address"),
    [
        ("initial_peers", "localhost:4001"),
        ("initial_peers", ""),
        ("initial_peers", "/ip4/10.0.0.2/tcp/4001"),
        ("initial_peers", f"/p2p/{PEER}"),
        ("initial_peers", "/ip4/10.0.0.2/tcp/4001/p2p/nobody"),
        ("initial_peers", f"/ip4/10.0.0.2/tcp/4001/p2p/{PEER}/"),
        ("initial_peers", f"/ip4/10.0.0.2/tcp/4001/p2p/{PEER}/p2p-circuit"),
        ("initial_peers", f"/ip4/10.0.0.256/tcp/4001/p2p/{PEER}"),
        ("host_maddrs", "0.0.0.0:4001"),
        ("host_maddrs", "/ip4/0.0.0.0/tcp/70000"),
        ("announce_maddrs", "/ip4/10.0.0.2/tcp/0"),
        ("announce_maddrs", "example.org"),
    ],
)
def test_an_address_that_is_none_is_named_before_anything_starts(
    tmp_path: Path, flag: str, address: str
) -> None:
    config = DhtConfig("test", str(tmp_path / "key"), **{flag: (address,)})
    with pytest.raises(InputError, match=rf"swarm\.{flag}: got '{address}'; expected"):
        DhtExchange(config, MANIFEST, print)
    assert list(tmp_path.iterdir()) == []


def test_addresses_by_name_over_quic_and_through_a_relay_are_accepted() -> None:
    relayed = f"/ip4/10.0.0.2/tcp/1/p2p/{PEER}/p2p-circuit/p2p/Qm{PEER[2:]}"
    check_addresses(
        DhtConfig(
            "test",
            "key",
            initial_peers=(f"/dns4/example.org/tcp/4001/p2p/{PEER}", relayed),
            host_maddrs=("/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic"),
            announce_maddrs=("/ip4/10.0.0.2/tcp/4001",),
        )
    )
    assert peer_in(relayed) == PEER


def test_the_way_through_a_relay_is_packed_as_the_daemon_reads_it() -> None:
    direct = way_to(f"/ip4/10.0.0.2/tcp/1/p2p/{PEER}").to_bytes()
    relayed = way_to(f"/ip4/10.0.0.2/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}").to_bytes()
    assert direct.hex() == "040a000002060001"
    relay_id = PeerID.from_base58(PEER).to_bytes()
    assert len(relay_id) == 0x22
    assert relayed.hex() == direct.hex() + "a50322" + relay_id.hex() + "a202"


def test_a_join_that_fails_on_the_identity_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    exchange = DhtExchange(DhtConfig("test", str(tmp_path / "key")), MANIFEST, print)
    with pytest.raises(InputError, match="identity file"):
        exchange.join()
    exchange.close()


def test_of_a_peer_s_addresses_one_that_hivemind_can_print_is_taken() -> None:
    webtransport = Multiaddr(Multiaddr("/ip4/10.0.0.2/udp/4001").to_bytes() + b"\xd1\x03")
    with pytest.raises(ValueError, match=r"[Pp]rotocol"):
        str(webtransport)
    tcp = Multiaddr("/ip4/10.0.0.2/tcp/4001")
    assert first_legible([webtransport, tcp]) == "/ip4/10.0.0.2/tcp/4001"
    assert first_legible([webtransport]) is None
