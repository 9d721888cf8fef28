"""The errors a user is meant to read: the command line prints them without a traceback."""


class UserError(Exception):
    """Something the user can mend. The message says what was got, what was expected, what to do.

    The command line exits with 1.
    """


class ConfigError(UserError):
    """A config or an override that cannot be used. The command line exits with 2."""
