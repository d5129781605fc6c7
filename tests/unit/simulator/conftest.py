import asyncio

# The looptime plug-in asks for "the current loop" around plain tests too. Where none was ever
# set, Python 3.11 makes one for it that nobody closes; once None was set, it makes none.
asyncio.set_event_loop(None)
