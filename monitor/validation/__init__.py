"""Checks that a configuration makes sense, with the job types and the files that it names.

Only settings of the right shape come here: ``monitor.config`` refuses all others before.
"""

from monitor.validation.everything import problems

__all__ = ["problems"]
