"""``docker`` for the commands of the documents: buildah builds, and podman runs on a node.

Run as a program it is ``docker build``: ``python -m tests.docs.docker_kit ARGUMENTS…``.
"""

import argparse
import shlex
import sys
from pathlib import Path

from tests.docs import pages
from tests.image import image_kit

PAGES = ("README.md", "docs/deployment.md", "docs/sinks.md")
"""The documents whose ``sh run`` blocks are for ``docker``."""


def install(node, directory):
    """Put a ``docker`` into a directory, whose every command but ``build`` podman gets as it is."""
    build = shlex.join([sys.executable, "-P", "-m", "tests.docs.docker_kit"])
    text = (
        "#!/bin/sh -e\n"
        'if [ "$1" = build ]; then\n'
        "  shift\n"
        f'  PYTHONPATH={shlex.quote(str(pages.ROOT))} exec {build} "$@"\n'
        "fi\n"
        f'exec {shlex.join(node.command())} "$@"\n'
    )
    path = directory / "docker"
    path.write_text(text)
    path.chmod(0o755)


def _build():
    parser = argparse.ArgumentParser("docker build")
    parser.add_argument("-t", "--tag", required=True)
    parser.add_argument("--build-arg", default="REQUIREMENTS=runtime")
    parser.add_argument("context", type=Path)
    asked = parser.parse_args()
    image_kit.ROOT = asked.context.resolve()
    argument, _, requirements = asked.build_arg.partition("=")
    assert argument == "REQUIREMENTS"
    name = image_kit.build(requirements)
    image_kit.call("buildah", "tag", name, f"localhost/{asked.tag}")


if __name__ == "__main__":
    _build()
