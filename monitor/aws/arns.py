"""The ARNs of what AWS does not name for us."""

from __future__ import annotations


def partition_of(region: str) -> str:
    """Return the first part of the ARNs of a region."""
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws-cn" if region.startswith("cn-") else "aws"


def database_user(region: str, user: str) -> str:
    """Return the resource of ``rds-db:connect``, of all databases with that user in a region.

    RDS knows a database by an id that shows nowhere in its URL.
    """
    return f"arn:{partition_of(region)}:rds-db:{region}:*:dbuser:*/{user}"
