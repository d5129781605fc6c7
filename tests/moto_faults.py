"""A server before moto that lets it throttle, and refuse single entries of a batch."""

from collections import Counter
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

THROTTLED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code>"
    b"<Message>Rate exceeded</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
)
GROUP = "PublishBatchRequestEntries.member.1.MessageGroupId"


class Faults:
    """Of the first requests, every third is throttled and every third lacks an entry's group.

    moto itself refuses such an entry and takes the others; that it is the receiver's fault, and
    passing, is written into its answer.
    """

    def __init__(self, moto, many):
        self.done: Counter[str] = Counter()
        self._moto = moto
        self._many = many

    async def answer(self, request):
        self.done["requests"] += 1
        body = await request.text()
        fault = self.done["requests"] % 3 if self.done["requests"] <= self._many else 2
        if fault == 0:
            self.done["throttled"] += 1
            return web.Response(status=400, body=THROTTLED, content_type="text/xml")
        fields = dict(parse_qsl(body, keep_blank_values=True))
        torn = fault == 1 and fields.pop(GROUP, None) is not None
        status, text = await self._ask(request, urlencode(fields) if torn else body)
        if torn:
            assert text.count("<Code>InvalidParameter</Code>") == 1, text
            text = text.replace("InvalidParameter", "InternalError")
            text = text.replace("<SenderFault>true", "<SenderFault>false")
            self.done["torn"] += 1
        return web.Response(status=status, text=text, content_type="text/xml")

    async def _ask(self, request, body):
        passed = {"Host", "Content-Length"}
        headers = {name: value for name, value in request.headers.items() if name not in passed}
        url = f"{self._moto}{request.path_qs}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body.encode(), headers=headers) as answer,
        ):
            return answer.status, await answer.text()


@asynccontextmanager
async def failing_at_first(moto, many):
    """Serve before moto; yield the URL, and what was done to the first ``many`` requests."""
    faults = Faults(moto, many)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", faults.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", faults.done
    finally:
        await runner.cleanup()
