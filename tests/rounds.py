"""Rounds of what depends on chance and on the speed of the machine: as many as it takes."""


def until_enough(least, enough, most=None):
    """Yield numbers until there were ``least`` rounds and ``enough()`` holds.

    A slow or busy machine needs more rounds for the same. After ``most`` of them, five times
    ``least`` unless given, no more come: what the test then asserts says what is lacking.
    """
    for number in range(most or 5 * least):
        if number >= least and enough():
            return
        yield number
