"""Connecting to PostgreSQL as libpq does: TLS, a password from a file, or a token of AWS."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from monitor import errors
from monitor.config import named_files, postgresql_url
from monitor.stores import database

if TYPE_CHECKING:
    from monitor.config.settings import StoreSettings

_CONNECT_TIMEOUT = 10
_COMMAND_TIMEOUT = 70.0
"""A little more than the server's, so that its own error comes first."""
READERS = 4
"""Connections that read, beside the one that writes."""
_SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "5s",
    "tcp_keepalives_interval": "2s",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "15s",
}
"""Settings of a session where the URL, the role and the server leave the default.

The server must notice that we are gone, too: it would keep our lock until then.
"""
# As a statement, not at the start: a pooler would refuse a session that begins with settings.
_SET_UP = (
    "SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES "  # noqa: S608 -- all ours
    + ", ".join(f"('{name}', '{value}')" for name, value in _SESSION.items())
    + ") AS ours (name, value) USING (name) WHERE source = 'default'"
)
_PID = "SELECT pg_backend_pid()"
_POOLED_WITHIN = 10.0
_TCP_OPTIONS = {
    "keepalives_idle": socket.TCP_KEEPIDLE,
    "keepalives_interval": socket.TCP_KEEPINTVL,
    "keepalives_count": socket.TCP_KEEPCNT,
    "tcp_user_timeout": socket.TCP_USER_TIMEOUT,
}
_LONGEST_PASSWORD = 65536
"""Bytes of its file that are read; a token of AWS has some 2,000."""
_OURS = frozenset({"connect_timeout", *postgresql_url.KEEPALIVES})
"""Parameters of libpq that the driver would take for settings of the server."""
_REMEDY = "check the URL, and that the server is up and lets this user in"


class Login:
    """How connections to one database are made; the password is fetched for each of them."""

    def __init__(self, store: StoreSettings, make_token: database.MakeToken | None) -> None:
        """``make_token`` makes the password, if the settings have ``iam_auth``.

        Raises:
            ConfigurationError: the URL, or a file that it names, cannot be used.
        """
        self.url = url = postgresql_url.parse(store.url)
        for message, remedy in postgresql_url.troubles(url):
            raise postgresql_url.PostgresqlUrlError(message, remedy)
        self._store = store
        self._make_token = make_token
        with_system = url.parameters.get("sslrootcert") == postgresql_url.SYSTEM
        self._dsn = postgresql_url.without(
            store.url, _OURS | {"sslrootcert"} if with_system else _OURS
        )
        self._system = _system_authorities(url) if with_system else None
        self._direct = False

    async def connect(self) -> Any:
        """Return a new connection of the driver.

        Raises:
            StoreError: there is none, or a pooler stands between; the message has one line, and no
                password.
        """
        import asyncpg  # type: ignore[import-untyped] # noqa: PLC0415 (an optional extra)

        session = await self._open()
        try:
            self._keep_alive(session)
            await session.execute(_SET_UP)
            if not self._direct:
                await self._refuse_pooler(session)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            session.terminate()
            message = database.reason(error)
            raise errors.StoreLostError(f"store {self.url.name}: {message} ({_REMEDY})") from None
        except BaseException:
            session.terminate()
            raise
        self._direct = True
        return session

    async def _open(self) -> Any:
        import asyncpg  # noqa: PLC0415 -- see above

        options: dict[str, Any] = {}
        if self._store.iam_auth or self._store.password_file is not None:
            options["password"] = await self._password()
        if self._system is not None:
            options["ssl"] = self._system
        if "application_name" not in self.url.parameters:
            options["server_settings"] = {"application_name": "job-monitor"}
        timeout = int(self.url.parameters.get("connect_timeout", _CONNECT_TIMEOUT))
        try:
            return await asyncpg.connect(
                self._dsn, timeout=timeout, command_timeout=_COMMAND_TIMEOUT, **options
            )
        except TimeoutError:
            message, remedy = f"the server did not answer within {timeout} s", _REMEDY
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            refused = isinstance(error, asyncpg.InvalidAuthorizationSpecificationError)
            message, remedy = self._explain(error, refused=refused)
        raise errors.StoreLostError(f"store {self.url.name}: {message} ({remedy})")

    async def _refuse_pooler(self, session: Any) -> None:
        """Refuse a proxy that runs each transaction in another session of the server.

        The owner's lock would stay behind in one of them, and hold for nobody.

        Raises:
            StoreError: there is one.
        """
        import asyncpg  # noqa: PLC0415 -- see above

        others: list[Any] = []
        try:
            with anyio.move_on_after(_POOLED_WITHIN):
                first = await session.fetchval(_PID)
                # A proxy of any kind makes up the number that a client gets when it connects.
                if first == session.get_server_pid():
                    return
                # Each of them takes a session for as long as its transaction lasts: in the pool of
                # such a proxy, that of ours among them, as it is idle.
                for _ in range(READERS):
                    others.append(await self._open())
                    await others[-1].execute("BEGIN")
                    await others[-1].fetchval(_PID)
                if await session.fetchval(_PID) == first:
                    return
        except asyncpg.PostgresError:
            # It knows no statement that was prepared in another session.
            if session.is_closed():
                raise
        finally:
            for other in others:
                other.terminate()
        raise errors.StoreError(
            f"store {self.url.name}: a connection pooler in transaction mode stands between, which"
            " would lose the owner's lock (connect to the server itself; or set pool_mode = session"
            f" with a pool of {READERS + 1} or more)"
        )

    def _keep_alive(self, session: Any) -> None:
        """Let the kernel of this machine notice that the server no longer answers."""
        tcp = session._transport.get_extra_info("socket")  # noqa: SLF001 -- the driver has no other way
        if tcp is None or tcp.family == socket.AF_UNIX:
            return
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, self.url.keepalive("keepalives"))
        for name, option in _TCP_OPTIONS.items():
            tcp.setsockopt(socket.IPPROTO_TCP, option, self.url.keepalive(name))

    async def _password(self) -> str:
        """Return the password of one connection.

        Raises:
            StoreError: there is none.
        """
        name = self._store.password_file
        if name is None:
            try:
                return await self._make_token() if self._make_token else ""
            except errors.PollError as error:
                message = f"no AWS credentials to log in with: {error}"
                raise errors.StoreLostError(f"store {self.url.name}: {message}") from None
        try:
            content = await anyio.to_thread.run_sync(named_files.read, name, _LONGEST_PASSWORD)
            return content.decode().rstrip("\r\n")
        except (OSError, ValueError) as error:
            message, remedy = named_files.trouble(name, error)
            raise errors.StoreLostError(
                f"store {self.url.name}: password_file: {message} ({remedy})"
            ) from None

    def _explain(self, error: Exception, *, refused: bool) -> tuple[str, str]:
        """Return what went wrong, and the remedy; ``refused`` says that it was the login."""
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message.rstrip(".")
            remedy = "check sslrootcert, and that the URL has the name in the certificate"
            return f"the certificate of the server is not valid: {why}", remedy
        message = database.reason(error)
        if "rejected SSL upgrade" in message:
            return "the server does not offer TLS", "set ssl = on in its postgresql.conf"
        if refused and self._store.iam_auth:
            return message, (
                "grant rds_iam to the user of the URL, and rds-db:connect to the AWS identity"
            )
        if refused and self._store.password_file is not None:
            return message, "check the user of the URL, and what password_file holds"
        return message, _REMEDY


def _system_authorities(url: postgresql_url.PostgresqlUrl) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of this machine, as libpq's ``system``."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    certificate, key = url.parameters.get("sslcert"), url.parameters.get("sslkey")
    if certificate:
        password = url.parameters.get("sslpassword", "")
        context.load_cert_chain(certificate, key or None, password=lambda: password)
    return context
