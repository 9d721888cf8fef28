"""The errors a user is meant to read: the command line prints them without a traceback."""


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
