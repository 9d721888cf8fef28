"""The errors a user is meant to read: the command line prints them without a traceback."""

import errno
import os

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """Something the user can mend. The message says what was got, what was expected, what to do.

    key: of the config section in use, where one of its keys is what has to be mended.
    The command line exits with 1.
    """

    def __init__(self, message: str, key: str | None = None):
        super().__init__(message)
        self.key = key


class ConfigError(UserError):
    """A config or an override that cannot be used. The command line exits with 2."""


class Preempted(UserError):
    """The machine is to be taken away: what was done is saved. The command line exits with 143."""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is no room to write in.

    Disk full, quota used up, file larger than allowed. TensorStore and Arrow pass on the system's
    words, not always its number.
    """
    words = [os.strerror(code) for code in _FULL]
    while error is not None:
        if getattr(error, "errno", None) in _FULL or any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
