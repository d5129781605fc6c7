"""``job-monitor iam-policy``: print the least-privilege IAM policies of a configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli import arguments, options, output


def iam_policy(
    config: options.Config = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="IDENTITY",
            help="Print the policy of one identity: ambient, 'profile NAME', or the ARN of a role.",
        ),
    ] = None,
) -> None:
    """Print the least-privilege IAM policy of each identity that the daemon uses, as JSON."""
    from monitor.tools import iam_policy as iam

    # Secrets need not exist here: they are where the daemon will run.
    settings, types = options.load_parts(config, "hints", ".type", ".account")
    policies = iam.policies(settings, types)
    if identity is not None and identity not in policies:
        raise arguments.unknown("--for", "identity", identity, policies)
    output.show_json(policies if identity is None else policies[identity])
