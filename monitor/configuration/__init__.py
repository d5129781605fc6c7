"""Reads and checks the configuration; what it says is in ``monitor.config``.

    yaml_files.py (documents.py)      files ─► values that know their lines
    environment.py                    variables ─► values over those of the files (layers.py)
    loading.py                        both ─► Draft: Settings, or what can be read of them
                                      (mending.py) and all mistakes (complaints.py, shapes.py)
    checks.py (basics, watches,       Settings + job types ─► mistakes and warnings, but none
               routes, findings)      that may come of what could not be read (gaps.py)

``reference.py`` writes the tables of docs/configuration.md from the settings.
"""

from monitor.configuration.checks import problems
from monitor.configuration.complaints import report, similar
from monitor.configuration.loading import Draft, load, read
from monitor.configuration.yaml_files import files

__all__ = ["Draft", "files", "load", "problems", "read", "report", "similar"]
