"""What hivemind's client does with calls that are given up, repeated or out of order."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.control import ControlClient
from hivemind.proto import p2pd_pb2
from hivemind.utils.multiaddr import Multiaddr

from jaxswarm.swarm import calls

pytestmark = pytest.mark.faults

SLOW, LARGE, UNKNOWN = "slow", "large", "unknown"
PEER = PeerID(b"\x12\x20" + bytes(32))
pb: Any = p2pd_pb2


class Daemon:
    """What a p2p daemon says to hivemind's client, and the client with our tables."""

    def __init__(self) -> None:
        self.client: Any = ControlClient(
            None,  # pyright: ignore[reportArgumentType]
            Multiaddr("/unix/none"),
            _initialized_with_create=True,
            persistent_conn_max_msg_size=1000,
        )
        self.client._handler_tasks, self.client._pending_calls = calls.Answering(), calls.Waiting()
        self.client.unary_handlers = {SLOW: self._rest, LARGE: self._answer_at_length}
        self._says = asyncio.StreamReader()
        self.client._read_task = asyncio.create_task(
            self.client._read_from_persistent_conn(self._says)
        )

    async def say(self, *messages: Any) -> None:
        """All of it is there at once."""
        self._says.feed_data(b"".join(map(_framed, messages)))
        for _ in range(20):
            await asyncio.sleep(0)

    async def _rest(self, *_: object) -> bytes:
        await asyncio.sleep(60.0)
        return b""

    async def _answer_at_length(self, *_: object) -> bytes:
        return bytes(2000)


def _framed(message: Any) -> bytes:
    data, size = message.SerializeToString(), bytearray()
    length = len(data)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(size) + bytes([length]) + data


def call(number: bytes, procedure: str) -> Any:
    request = pb.CallUnaryRequest(peer=PEER.to_bytes(), proto=procedure, data=b"d")
    return pb.PersistentConnectionResponse(callId=number, requestHandling=request)


def cancel(number: bytes) -> Any:
    return pb.PersistentConnectionResponse(callId=number, cancel=pb.Cancel())


def answer(number: bytes) -> Any:
    response = pb.CallUnaryResponse(response=b"answer")
    return pb.PersistentConnectionResponse(callId=number, callUnaryResponse=response)


Scenario = Callable[[Daemon], Awaitable[None]]


@pytest.fixture
def with_daemon() -> Callable[[Scenario], None]:
    async def run(scenario: Scenario) -> None:
        daemon = Daemon()
        await scenario(daemon)
        assert not daemon.client._read_task.done(), "it still hears"
        daemon.client.close()

    return lambda scenario: asyncio.run(run(scenario))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_call_that_is_given_up_is_forgotten(with_daemon, at_once: bool) -> None:
    async def scenario(daemon: Daemon) -> None:
        number = uuid4().bytes
        if at_once:
            await daemon.say(call(number, SLOW), cancel(number))
        else:
            await daemon.say(call(number, SLOW))
            assert len(daemon.client._handler_tasks) == 1
            await daemon.say(cancel(number))
        assert not daemon.client._handler_tasks

    with_daemon(scenario)


@pytest.mark.parametrize("procedure", [UNKNOWN, LARGE])
def test_a_call_that_can_t_be_answered_is_forgotten(with_daemon, procedure: str) -> None:
    async def scenario(daemon: Daemon) -> None:
        await daemon.say(call(uuid4().bytes, procedure))
        assert not daemon.client._handler_tasks

    with_daemon(scenario)


def test_two_calls_of_one_number_are_both_forgotten(with_daemon) -> None:
    async def scenario(daemon: Daemon) -> None:
        number = uuid4().bytes
        await daemon.say(call(number, SLOW), call(number, UNKNOWN), call(number, SLOW))
        await daemon.say(cancel(number))
        assert not daemon.client._handler_tasks

    with_daemon(scenario)


@pytest.mark.parametrize("then", [cancel, answer])
def test_a_second_word_on_a_call_of_ours_is_not_heard(
    with_daemon, then: Callable[[bytes], Any]
) -> None:
    async def scenario(daemon: Daemon) -> None:
        ours = asyncio.create_task(daemon.client.call_unary_handler(PEER, SLOW, b""))
        await asyncio.sleep(0)
        number = (await daemon.client._pending_messages.get()).callId
        await daemon.say(answer(number), then(number))
        assert await ours == b"answer"
        assert not daemon.client._pending_calls

    with_daemon(scenario)
