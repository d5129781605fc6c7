"""Write the IAM policies of least privilege that a configuration needs.

Each set of credentials is an identity in AWS: the ambient ones, those of a profile, or a role. Each
identity needs the calls made with it, and the one that assumes a role must be allowed to.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from monitor import config, sinks
from monitor.aws import arns, queues, service_models
from monitor.config import postgresql_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from botocore.loaders import Loader

    from monitor.sources.job_type import JobType

_READ = [
    f"sqs:{operation}"
    for operation in (
        "ChangeMessageVisibility",
        "DeleteMessage",
        "GetQueueAttributes",
        "ReceiveMessage",
    )
]
AMBIENT = "ambient"
"""The identity of the daemon without a profile or a role."""
_OTHERWISE = {"IngestionService": "importexport", "email": "ses", "monitoring": "cloudwatch"}
"""The names in IAM of services whose requests are signed for another name."""


def policies(
    settings: config.Settings, types: Mapping[str, JobType], models: Loader | None = None
) -> dict[str, dict[str, Any]]:
    """Return the policy of each identity: ``ambient``, ``profile NAME``, or the ARN of a role.

    Reads the service models of the watches' job types by ``models``. What a customer key asks
    for, that encrypts a topic or a queue, cannot be known here.
    """
    models = models or service_models.loader()
    statements: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    accounts = defaultdict(config.Account, settings.accounts)
    used: set[str] = set()
    for watch in settings.watches:
        kind = types[watch.type]
        signing = service_models.service_model(models, kind.service).signing_name
        prefix = _OTHERWISE.get(signing, signing)
        operations = (kind.describe_operation, *kind.list_operations)
        actions = [f"{prefix}:{operation}" for operation in operations]
        # Few services offer a permission on a single job, and the id of the next job is unknown.
        _allow(statements[_identity(accounts[watch.account])], kind.service, actions, "*")
        used.add(watch.account)
    for name, sink in settings.sinks.items():
        if not isinstance(sink, config.AwsSinkSettings):
            continue
        used.add(sink.account)
        if permission := sinks.permission(name, sink):
            # The permission to send one message also permits the batch.
            action, resource = permission
            service = action.partition(":")[0]
            _allow(statements[_identity(accounts[sink.account])], service, [action], resource)
    for hint in settings.hints:
        if at := queues.address(hint.queue_url, hint.region):
            used.add(hint.account)
            _allow(statements[_identity(accounts[hint.account])], "sqs-hints", _READ, at.arn)
    if settings.database.iam_auth:
        store = settings.database
        url = postgresql_url.parse(store.url)
        resource = arns.database_user(store.region or url.aws_region, url.user)
        used.add(store.account)
        identity = _identity(accounts[store.account])
        _allow(statements[identity], "store", ["rds-db:connect"], resource)
    for account in (accounts[name] for name in sorted(used)):
        if account.role_arn:
            taker = statements[_identity(config.Account(profile=account.profile))]
            _allow(taker, "sts", ["sts:AssumeRole"], account.role_arn)
    return {
        name: {"Version": "2012-10-17", "Statement": list(statements[name].values())}
        for name in sorted(statements)
    }


def _identity(account: config.Account) -> str:
    """Return who sends requests with the credentials of an account."""
    return account.role_arn or (f"profile {account.profile}" if account.profile else AMBIENT)


def _allow(
    statements: dict[str, dict[str, Any]], service: str, actions: Iterable[str], resource: str
) -> None:
    """Put it into the statement on the same service and kind of resource."""
    sid = "".join(word.capitalize() for word in service.split("-"))
    sid = sid if resource != "*" else f"Watch{sid}"
    found = statements.setdefault(
        sid, {"Sid": sid, "Effect": "Allow", "Action": [], "Resource": []}
    )
    found["Action"] = sorted({*found["Action"], *actions})
    found["Resource"] = sorted({*found["Resource"], resource})
