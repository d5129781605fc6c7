"""Logging in to PostgreSQL: TLS, client certificates, passwords from files, and tokens of AWS."""

import asyncio
import json
import os
import socket

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest

from monitor.aws import rds_token
from monitor.config import Account, StoreSettings
from monitor.errors import ConfigurationError, StoreError
from monitor.stores.postgresql_login import Login
from monitor.stores.store import open_store
from tests import certificates
from tests.acceptance.program import run
from tests.contracts import postgresql_kit, rds_stand_in
from tests.contracts.store_examples import SettableClock, entry

PASSWORD = "hunter2-of-the-database"
ACCESS = [
    "hostssl all certified 127.0.0.1/32 cert",
    "hostssl all all 127.0.0.1/32 scram-sha-256",
    "host all open 127.0.0.1/32 scram-sha-256",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The certificates: of the server, for ``localhost``, and of a client."""
    home = tmp_path_factory.mktemp("certificates")
    certificates.certificate(home / "server.pem", "localhost", 9)
    certificates.certificate(home / "client.pem", "certified", 9)
    return home


@pytest.fixture(scope="module")
def tls_server(made, postgresql_cluster):
    def prepare(server):
        server.serve_tls(made / "server.pem", made / "client.pem", ACCESS)

    with postgresql_kit.server("-c fsync=off", prepare, postgresql_cluster) as running:
        for name in ("monitor", "open", "certified"):
            running.run(
                *("psql", "-h", running.home, "-p", running.port, "-U", "postgres", "-q", "-c"),
                f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
            )
        yield running


@pytest.fixture
def database(tls_server, postgresql_names):
    """A function from a user, parameters and a host to the URL of one fresh database."""
    name = next(postgresql_names)
    tls_server.create(name)

    def url(parameters, user="monitor", host="localhost"):
        return f"postgresql://{user}@{host}:{tls_server.port}/{name}?{parameters}"

    return url


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n", "utf-8")
    return path


def store_at(url, **login):
    return StoreSettings.model_validate({"url": url} | {key: str(it) for key, it in login.items()})


async def in_use(store, url):
    """Use a store; return what the server says of the TLS of its sessions."""
    async with open_store(store, SettableClock()) as opened:
        await opened.record(entry())
        assert len(await opened.snapshots()) == 1
        return await ssl_of_sessions(url)


async def ssl_of_sessions(url):
    connection = await asyncpg.connect(url)
    try:
        return {
            row["ssl"]
            for row in await connection.fetch(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE application_name = 'job-monitor' AND datname = current_database()"
            )
        }
    finally:
        await connection.close()


def socket_url(server, url):
    return server.url(url.partition("?")[0].rpartition("/")[2])


@pytest.mark.parametrize(
    ("parameters", "host", "encrypted"),
    [
        ("sslmode=disable", "localhost", False),
        ("sslmode=allow", "127.0.0.1", False),
        ("sslmode=prefer", "127.0.0.1", True),
        ("", "127.0.0.1", True),
        ("sslmode=require", "127.0.0.1", True),
        ("sslmode=require&sslrootcert={ca}", "127.0.0.1", True),
        ("sslmode=verify-ca&sslrootcert={ca}", "127.0.0.1", True),
        ("sslmode=verify-full&sslrootcert={ca}", "localhost", True),
    ],
)
async def test_sslmode_is_that_of_libpq(
    database, tls_server, made, password_file, parameters, host, encrypted
):
    url = database(parameters.format(ca=made / "server.pem"), user="open", host=host)
    store = store_at(url, password_file=password_file)
    assert await in_use(store, socket_url(tls_server, url)) == {encrypted}


@pytest.mark.parametrize(
    ("parameters", "host", "told"),
    [
        ("sslmode=verify-full&sslrootcert={ca}", "127.0.0.1", "is not valid for '127.0.0.1'"),
        ("sslmode=verify-full&sslrootcert={client}", "localhost", "self-signed certificate"),
        ("sslmode=verify-ca&sslrootcert={client}", "localhost", "self-signed certificate"),
        ("sslmode=require&sslrootcert={client}", "localhost", "self-signed certificate"),
        ("sslmode=verify-full&sslrootcert=system", "localhost", "self-signed certificate"),
        ("sslmode=disable", "localhost", "no encryption"),
    ],
)
async def test_a_server_that_does_not_prove_itself_gets_no_password(
    database, made, password_file, parameters, host, told
):
    files = {"ca": made / "server.pem", "client": made / "client.pem"}
    store = store_at(database(parameters.format(**files), host=host), password_file=password_file)
    with anyio.fail_after(60), pytest.raises(StoreError, match=told) as caught:
        async with open_store(store, SettableClock()):
            pass
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    assert text.endswith(")")


async def test_a_store_is_copied_and_checked_with_the_login_of_a_configuration(
    database, made, password_file, tmp_path, sqlite_url
):
    url = database(f"sslmode=verify-full&sslrootcert={made}/server.pem")
    config = tmp_path / "monitor.yaml"
    store = {"url": url, "password_file": str(password_file)}
    config.write_text(json.dumps({"store": store}), "utf-8")
    async with open_store(sqlite_url, SettableClock()) as opened:
        await opened.record(entry())
    code, out, err = await run("store", "copy", sqlite_url, "-c", config, directory=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("Copied 3 rows. ")
    back = f"sqlite://{tmp_path}/back.db"
    for arguments in (
        ("check", "-c", config),
        ("copy", "--source-config", config, back),
        ("check", back),
    ):
        assert (await run("store", *arguments, directory=tmp_path))[0] == 0
    async with open_store(back, SettableClock()) as opened:
        assert len(await opened.snapshots()) == 1
    password_file.write_text("wrong", "utf-8")
    code, out, err = await run("store", "check", "-c", config, directory=tmp_path)
    assert (code, out) == (74, "")
    assert "check the user of the URL, and what password_file holds" in err


async def test_a_server_without_tls_is_refused_where_it_is_required(password_file):
    """The driver's own word for it names no remedy."""

    left = asyncio.Event()

    async def no_tls(reader, writer):
        await reader.readexactly(8)
        writer.write(b"N")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://monitor@127.0.0.1:{port}/db?sslmode=require"
        with pytest.raises(StoreError, match=r"does not offer TLS \(set ssl = on"):
            async with open_store(store_at(url, password_file=password_file), SettableClock()):
                pass
        await left.wait()


async def test_a_client_certificate_logs_in_without_a_password(database, tls_server, made):
    files = f"sslrootcert={made}/server.pem&sslcert={made}/client.pem&sslkey={made}/client.pem"
    url = database(f"sslmode=verify-full&{files}", user="certified")
    assert await in_use(url, socket_url(tls_server, url)) == {True}
    without = database(f"sslmode=verify-full&sslrootcert={made}/server.pem", user="certified")
    with pytest.raises(StoreError, match="valid client certificate"):
        async with open_store(without, SettableClock()):
            pass


async def test_the_password_file_is_read_at_each_connection(
    database, tls_server, made, password_file
):
    url = database(f"sslmode=verify-full&sslrootcert={made}/server.pem")
    admin = await asyncpg.connect(socket_url(tls_server, url))
    try:
        async with open_store(
            store_at(url, password_file=password_file), SettableClock()
        ) as opened:
            await opened.record(entry())
            await admin.execute("ALTER ROLE monitor PASSWORD 'the-next-one'")
            password_file.write_text("the-next-one", "utf-8")
            readers = "pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
            await postgresql_kit.end_sessions(socket_url(tls_server, url), readers)
            await anyio.sleep(0.1)
            assert len(await opened.snapshots()) == 1
        password_file.write_text("a-wrong-one", "utf-8")
        with pytest.raises(StoreError, match="what password_file holds") as caught:
            async with open_store(store_at(url, password_file=password_file), SettableClock()):
                pass
        assert "a-wrong-one" not in str(caught.value)
        password_file.unlink()
        with pytest.raises(StoreError, match="password_file: "):
            async with open_store(store_at(url, password_file=password_file), SettableClock()):
                pass
    finally:
        await admin.execute(f"ALTER ROLE monitor PASSWORD '{PASSWORD}'")
        await admin.close()


async def test_a_passfile_is_that_of_libpq(database, tls_server, made, tmp_path):
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"localhost:{tls_server.port}:*:monitor:{PASSWORD}\n", "utf-8")
    url = database(f"sslmode=verify-full&sslrootcert={made}/server.pem&passfile={passfile}")
    with pytest.raises(ConfigurationError, match="chmod 0600"):
        async with open_store(url, SettableClock()):
            pass
    passfile.chmod(0o600)
    assert await in_use(url, socket_url(tls_server, url)) == {True}


async def test_parameters_of_libpq_are_taken(database, tls_server, made, password_file):
    url = database("connect_timeout=5&application_name=ours&options=-c%20search_path%3Dpublic")
    async with open_store(store_at(url, password_file=password_file), SettableClock()):
        admin = await asyncpg.connect(socket_url(tls_server, url))
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ours'"
        assert await admin.fetchval(count) >= 1
        await admin.close()


async def test_a_dead_server_is_noticed_by_keepalives(database, tls_server, made, password_file):
    parameters = "keepalives_idle=3&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=4000"
    url = database(f"sslmode=verify-full&sslrootcert={made}/server.pem&{parameters}")
    login = Login(store_at(url, password_file=password_file), None)
    session = await login.connect()
    tcp = session._transport.get_extra_info("socket")
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [tcp.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [3, 1, 2]
    assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    # The server watches us with values of its own.
    watched = [
        await session.fetchval(f"SHOW tcp_{it}") for it in ("keepalives_idle", "user_timeout")
    ]
    await session.close()
    assert watched == ["5", "15000"]


KEYS = {"AKIDOFTHEFIRST": ("first-secret", None), "ASIAOFTHESECOND": ("second", "the+session/=")}


@pytest.fixture
def aws_files(tmp_path, monkeypatch):
    """A function that writes the credentials of AWS."""
    path = tmp_path / "credentials"
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(access_key, profile="default"):
        secret, session = KEYS[access_key]
        lines = [f"[{profile}]", f"aws_access_key_id={access_key}"]
        lines += [f"aws_secret_access_key={secret}"]
        lines += [f"aws_session_token={session}"] if session else []
        path.write_text("\n".join(lines), "utf-8")

    return write


def iam_store(stand_in, name, made, **settings):
    url = (
        f"postgresql://postgres@localhost:{stand_in.port}/{name}"
        f"?sslmode=verify-full&sslrootcert={made}/server.pem"
    )
    return StoreSettings(url=url, iam_auth=True, **{"region": "eu-west-1", **settings})


@pytest.fixture
def rds(tls_server, made, postgresql_names):
    """A function that runs a stand-in for RDS, and the name of a fresh database."""
    name = next(postgresql_names)
    tls_server.create(name)
    context = certificates.certificate(made / "rds.pem", "localhost", 9)
    context.load_cert_chain(made / "server.pem")
    path = f"{tls_server.home}/.s.PGSQL.{tls_server.port}"
    return (lambda: rds_stand_in.running(path, context, "eu-west-1", KEYS)), name


@pytest.mark.parametrize("access_key", sorted(KEYS))
async def test_rds_takes_a_token_that_is_made_for_each_connection(rds, made, aws_files, access_key):
    running, name = rds
    aws_files(access_key)
    async with running() as stand_in:
        store = iam_store(stand_in, name, made)
        async with (
            rds_token.signing(store, {}) as make_token,
            open_store(store, SettableClock(), make_token=make_token) as opened,
        ):
            await opened.record(entry())
            assert len(await opened.snapshots()) == 1
        assert stand_in.refused == []
        assert len(stand_in.tokens) >= 2
        assert all(f"X-Amz-Credential={access_key}%2F" in token for token in stand_in.tokens)


async def test_a_token_is_signed_with_the_account_of_the_setting(rds, made, aws_files):
    running, name = rds
    aws_files("AKIDOFTHEFIRST", profile="databases")
    async with running() as stand_in:
        store = iam_store(stand_in, name, made, account="prod")
        async with (
            rds_token.signing(store, {"prod": Account(profile="databases")}) as make_token,
            open_store(store, SettableClock(), make_token=make_token),
        ):
            assert stand_in.tokens


async def test_a_token_that_rds_refuses_is_explained_and_not_repeated(rds, made, aws_files):
    running, name = rds
    aws_files("AKIDOFTHEFIRST")
    async with running() as stand_in:
        store = iam_store(stand_in, name, made, region="us-east-1")
        with pytest.raises(
            StoreError, match=r"PAM authentication failed .* \(grant rds_iam"
        ) as told:
            async with (
                rds_token.signing(store, {}) as make_token,
                open_store(store, SettableClock(), make_token=make_token),
            ):
                pass
        assert stand_in.refused == ["scope"]
        assert "X-Amz" not in str(told.value)


async def test_without_credentials_there_is_no_token(rds, made, aws_files, monkeypatch):
    running, name = rds
    async with running() as stand_in:
        store = iam_store(stand_in, name, made)
        with pytest.raises(StoreError, match="no AWS credentials to log in with"):
            async with (
                rds_token.signing(store, {}) as make_token,
                open_store(store, SettableClock(), make_token=make_token),
            ):
                pass
        assert stand_in.tokens == []


async def test_the_stand_in_refuses_a_token_of_another_secret(rds, made, aws_files, monkeypatch):
    running, name = rds
    aws_files("AKIDOFTHEFIRST")
    monkeypatch.setitem(KEYS, "AKIDOFTHEFIRST", ("another-secret", None))
    async with running() as stand_in:
        store = iam_store(stand_in, name, made)
        with pytest.raises(StoreError):
            async with (
                rds_token.signing(store, {}) as make_token,
                open_store(store, SettableClock(), make_token=make_token),
            ):
                pass
        assert stand_in.refused == ["signature"]
