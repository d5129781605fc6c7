"""What monitor/sinks/webhook/tls.py relies on inside OpenSSL's errors."""

import ssl

import pytest

from tests.certificates import certificate


def test_reason_of_an_error_names_a_key_of_another_certificate(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        certificate(path, path.name, 1)
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().load_cert_chain(paths[0], paths[1])
    assert caught.value.reason == "KEY_VALUES_MISMATCH"
