"""AWS STS, API 2011-06-15, as Query XML: who is calling, and nothing else."""

import uuid
from urllib.parse import parse_qsl

from aiohttp import web

from monitor.simulator import signing
from monitor.simulator.calls import Call
from monitor.simulator.gate import Gate
from monitor.simulator.replies import ServiceError
from monitor.simulator.signing import HttpRequest

ACCOUNT = "123456789012"
"""That of every caller where no credentials are configured."""
_VERSION = "2011-06-15"
_NAMESPACE = f"https://sts.amazonaws.com/doc/{_VERSION}/"


def is_meant(http: HttpRequest) -> bool:
    """Return whether a request is signed for STS."""
    scope = signing.scope(http.headers)
    return scope is not None and scope.service == "sts"


def answer(http: HttpRequest, gate: Gate) -> web.Response:
    """Answer GetCallerIdentity, and refuse everything else as STS does."""
    form = dict(parse_qsl(http.body.decode("utf-8", "replace")))
    request_id = str(uuid.uuid4())
    if (form.get("Action"), form.get("Version")) != ("GetCallerIdentity", _VERSION):
        return _refusal(ServiceError("InvalidAction", "Could not find this operation."), request_id)
    try:
        account = gate.account(http, Call("importexport")) or ACCOUNT
    except ServiceError as error:
        return _refusal(error, request_id)
    text = (
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{account}:user/simulated</Arn><UserId>AIDASIMULATED</UserId>"
        f"<Account>{account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    return _xml(text, 200, request_id)


def _refusal(error: ServiceError, request_id: str) -> web.Response:
    text = (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type>'
        f"<Code>{error.code}</Code><Message>{error.message}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return _xml(text, error.status, request_id)


def _xml(text: str, status: int, request_id: str) -> web.Response:
    headers = {"x-amzn-RequestId": request_id}
    return web.Response(status=status, text=text, content_type="text/xml", headers=headers)
