"""Reads and checks the configuration; what it says is in ``monitor.config``.

    yaml_files.py (documents.py)      files ─► values that know their lines
    environment.py                    variables ─► values over those of the files (layers.py)
    loading.py                        both ─► Settings | all mistakes (complaints.py, shapes.py)
    checks.py (basics, watches,       Settings + job types ─► mistakes and warnings
               routes, findings)

``reference.py`` writes the tables of docs/configuration.md from the settings.
"""

from monitor.configuration.checks import problems
from monitor.configuration.complaints import report
from monitor.configuration.loading import load
from monitor.configuration.yaml_files import files

__all__ = ["files", "load", "problems", "report"]
