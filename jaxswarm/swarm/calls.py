"""hivemind's two tables of the calls under way, made proof against who is at the other end.

Whoever calls a node chooses the number of the call, and may give it up at any moment. hivemind's
own tables (`ControlClient`, 1.1.12) then keep the call for ever, with all that was sent, and take a
second word on a call of ours that has ended for a reason to hear nothing more.
"""

import asyncio
from functools import partial
from uuid import UUID


class Answering(dict[UUID, "asyncio.Task[None]"]):
    """Others' calls: each is forgotten when its handler has ended, in whatever way.

    hivemind forgets those alone that were answered: none that was given up, names no procedure of
    ours, or has an answer too large to send.
    """

    def __setitem__(self, call: UUID, task: "asyncio.Task[None]") -> None:
        super().__setitem__(call, task)
        task.add_done_callback(partial(self._forget, call))

    def pop(self, call: UUID, default: None = None) -> "asyncio.Task[None] | None":
        """As hivemind ends a call; there may be none, where two had the same number."""
        return super().pop(call, default)

    def _forget(self, call: UUID, ended: "asyncio.Task[None]") -> None:
        if self.get(call) is ended:
            del self[call]


class Waiting(dict[UUID, "asyncio.Future[bytes]"]):
    """Own calls: one that has its result takes no other, which would end hivemind's reader."""

    def __contains__(self, call: object) -> bool:
        future = self.get(call)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return future is not None and not future.done()
