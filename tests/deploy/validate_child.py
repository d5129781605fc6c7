"""kubernetes-validate, run by the Python that it is installed for: it reads everything only once.

The command itself reads all definitions anew for each object and version.
"""

import functools
import sys

import yaml
from kubernetes_validate import utils  # type: ignore[import-not-found]  # not of this environment
from kubernetes_validate.__main__ import main  # type: ignore[import-not-found]

yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[assignment,misc]
utils.schema_contents = functools.cache(utils.schema_contents)
utils.all_versions = functools.cache(utils.all_versions)
utils.resources_from_file = functools.cache(utils.resources_from_file)
sys.exit(main())
