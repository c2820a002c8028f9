"""Problems that only ingest has."""

from rfc9457 import StatusProblem


class Unsupported(StatusProblem):
    """415."""

    status = 415
    title = "This kind of body is not taken here."
    type_ = "unsupported-media-type"


class TooSlow(StatusProblem):
    """408."""

    status = 408
    title = "The body did not arrive in time."
    type_ = "too-slow"


class Disconnected(Exception):
    """The client went away before its body was complete: nobody is there to answer."""
