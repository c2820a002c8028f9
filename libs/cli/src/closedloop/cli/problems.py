"""What a command says when it cannot go on."""


class CommandFailed(Exception):
    """One sentence for the user: what is wrong and the way out. Ends the command with exit code 1, without a traceback."""
