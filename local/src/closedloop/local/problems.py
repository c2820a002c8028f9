"""The one kind of error that this package shows to a person."""


class LocalStackError(Exception):
    """Something on this machine stands in the way.

    Its text is one sentence (or two) that says what is wrong and what to do about it; it is printed as it is.
    """
