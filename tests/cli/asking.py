"""A batch of lines asked of a server that a test plays, as the verbs ask."""

from functools import partial

from guard.cli.lines import answered as of_lines
from guard.cli.token_lines import ask


def answered(client, operation, members, batch):
    """One answer for each line."""
    return [answer for _, answer in of_lines(partial(ask, client, operation, members), batch)]
