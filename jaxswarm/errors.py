"""The one error that a person is meant to read."""


class InputError(Exception):
    """What came from outside (a flag, a file, a peer's address) can't be used.

    Shown as one line and a non-zero exit, never as a traceback. A bug of ours is an assertion
    instead.
    """

    def __init__(self, what: str, *, got: object, expected: str, remedy: str):
        """Joins the four parts of a clear line.

        Args:
          what: the thing that is wrong, as the user named it (flag, file, field).
          got: its value as received; shown with `repr`, cut at 200 characters.
          expected: what would have been accepted.
          remedy: what the user can do now.
        """
        shown = repr(got)
        if len(shown) > 200:
            shown = shown[:200] + "..."
        super().__init__(f"{what}: got {shown}; expected {expected}; {remedy}")
