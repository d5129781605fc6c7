"""Both stages of reading a configuration, as ``check`` goes through them."""

from monitor import config
from monitor.errors import ConfigurationError
from monitor.validation import everything


def problems_of(paths, environ=None, models=None):
    """Return the problems of shape if there are any, and otherwise those of meaning."""
    try:
        settings = config.load(paths, environ or {})
    except ConfigurationError as error:
        return list(error.problems)
    return list(everything.validate(settings, models)[1])
