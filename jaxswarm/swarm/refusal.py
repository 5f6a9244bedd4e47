"""What of a peer is not taken, and why."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a record was refused."""

    UNSIGNED = "unsigned"
    FORGED = "forged"
    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    FUTURE_VERSION = "future_version"
    MISPLACED = "misplaced"
    """It lies under the key of another round, stage, peer or swarm."""
    EXPIRY = "expiry"
    """It asks to be kept for longer than allowed, or its clock is far ahead."""
    OTHER_MANIFEST = "other_manifest"
    OUTSIDER = "outsider"
    """The swarm is private, and who calls or signs it isn't of it."""
    TOO_MANY = "too_many"
    """Its peer has used up its share of what is kept here, or there is room for no peer more."""


class RefusedError(Exception):
    """A record that is not taken, and why."""

    def __init__(self, reason: Reason):
        super().__init__(reason)
        self.reason = reason
