import pytest

from monitor.config import postgresql_url
from tests import certificates

PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def _nothing_from_the_machine(monkeypatch, tmp_path):
    for name in ("PGHOST", "PGPORT", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))


def test_the_parts_of_a_url():
    url = postgresql_url.parse(
        f"postgresql://ops%40x:{PASSWORD}@DB.example.com:5433/jobs?sslmode=require"
    )
    assert (url.host, url.port, url.user) == ("db.example.com", 5433, "ops@x")
    assert (url.has_password, url.sslmode, url.requires_tls) == (True, "require", True)
    assert url.name == "postgresql://DB.example.com:5433/jobs"


def test_what_a_url_leaves_out_comes_from_the_environment_and_from_libpq(monkeypatch):
    url = postgresql_url.parse("postgresql://ops@/jobs")
    assert (url.host, url.port, url.sslmode) == ("", 5432, "prefer")
    assert url.is_socket
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGHOST", "db")
    url = postgresql_url.parse("postgresql://ops@/jobs")
    assert (url.host, url.requires_tls) == ("db", True)


def test_a_socket_has_no_tls():
    url = postgresql_url.parse("postgresql://ops@/jobs?host=/run/postgresql&sslmode=require")
    assert url.is_socket
    assert not url.requires_tls
    assert list(postgresql_url.troubles(url)) == []


def test_several_hosts_have_a_port_each():
    url = postgresql_url.parse(
        f"postgresql://ops:{PASSWORD}@a:5433,b/jobs?target_session_attrs=primary"
    )
    assert url.host == "a:5433,b"
    assert url.name == "postgresql://a:5433,b/jobs"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("jobs.c1a2b3.eu-west-1.rds.amazonaws.com", "eu-west-1"),
        ("jobs.cluster-c1a2b3.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"),
        ("jobs.cluster-ro-c1.ap-southeast-2.rds.amazonaws.com", "ap-southeast-2"),
        ("pool.proxy-c1a2b3.us-east-1.rds.amazonaws.com", "us-east-1"),
        ("jobs.c1a2b3.cn-north-1.rds.amazonaws.com.cn", "cn-north-1"),
        ("db.example.com", ""),
        ("eu-west-1.rds.amazonaws.com.example.com", ""),
    ],
)
def test_the_region_is_in_the_name_of_a_host_of_rds(host, region):
    assert postgresql_url.parse(f"postgresql://ops@{host}/jobs").aws_region == region


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("sslmod=verify-full", 'has the unknown parameter "sslmod"'),
        ("keepalive=1", "has the unknown parameter"),
        ("search_path=x", "has the unknown parameter"),
        ("sslmode", "has parameters that cannot be read"),
        ("port=x", "not a PostgreSQL URL"),
    ],
)
def test_a_parameter_that_libpq_does_not_know_is_refused(parameters, message):
    with pytest.raises(postgresql_url.PostgresqlUrlError) as caught:
        postgresql_url.parse(f"postgresql://ops:{PASSWORD}@db/jobs?{parameters}")
    assert caught.value.message.startswith(message)
    assert caught.value.remedy
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("sslmode=verify", "has an unknown sslmode (use one of disable, allow, prefer, require,"),
        ("sslmode=verify-full", "has sslmode=verify-full without sslrootcert (add &sslrootcert="),
        ("sslmode=verify-ca", "has sslmode=verify-ca without sslrootcert (add &sslrootcert="),
        ("sslmode=require&sslrootcert=system", "has sslrootcert=system with sslmode=require ("),
        ("sslrootcert=/nowhere/ca.pem", "sslrootcert: the value (15 characters) does not name an"),
        ("sslrootcert={empty}", "sslrootcert: {empty} holds no certificate (name a file in PEM"),
        ("sslcert=/nowhere/c.pem", "sslcert: the value (14 characters) does not name an existing"),
        ("sslkey={a}", "has sslkey without sslcert (add sslcert=FILE)"),
        ("sslcert={a}&sslkey={b}", "sslkey: the key is not that of the certificate (name the key"),
        ("sslcert={empty}", "sslcert: no certificate and key can be read from it (give both in"),
        ("passfile={a}", "passfile: {a} can be read by others (chmod 0600 the file)"),
        ("keepalives_idle=5s", "has a keepalives_idle that is not a whole number (write digits"),
        ("connect_timeout=soon", "has a connect_timeout that is not 1 to 3600 (write whole"),
        ("connect_timeout=9999", "has a connect_timeout that is not 1 to 3600 (write whole"),
        ("sslnegotiation=maybe", "has an unknown sslnegotiation (use postgres or direct)"),
        ("sslnegotiation=direct", "has sslnegotiation=direct without TLS (add sslmode=verify"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_parameters_and_their_files(tmp_path, parameters, told):
    files = {name: tmp_path / f"{name}.pem" for name in ("a", "b", "empty")}
    certificates.certificate(files["a"], "a", 9)
    certificates.certificate(files["b"], "b", 9)
    files["a"].chmod(0o644)
    files["empty"].write_text("nothing", "utf-8")
    url = postgresql_url.parse(f"postgresql://ops@db/jobs?{parameters.format(**files)}")
    ((message, remedy),) = postgresql_url.troubles(url)
    assert f"{message} ({remedy})".startswith(told.format(**files))


def test_what_is_right_has_no_trouble(tmp_path):
    certificates.certificate(tmp_path / "a.pem", "a", 9)
    (tmp_path / "a.pem").chmod(0o600)
    file = tmp_path / "a.pem"
    for parameters in (
        "",
        "sslmode=disable&sslcert=&sslkey=",
        f"sslmode=verify-full&sslrootcert={file}&sslcert={file}&sslkey={file}&connect_timeout=3",
        "sslmode=verify-full&sslrootcert=system&sslnegotiation=direct",
        f"passfile={file}",
    ):
        url = postgresql_url.parse(f"postgresql://ops@db/jobs?{parameters}")
        assert list(postgresql_url.troubles(url)) == [], parameters


def test_parameters_can_be_left_out():
    url = f"postgresql://ops:{PASSWORD}%2F@db:5433/jobs?sslmode=require&connect_timeout=3&options=-c%20a%3Db"
    assert postgresql_url.without(url, frozenset({"connect_timeout"})) == (
        f"postgresql://ops:{PASSWORD}%2F@db:5433/jobs?sslmode=require&options=-c+a%3Db"
    )
