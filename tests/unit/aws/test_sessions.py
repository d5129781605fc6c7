"""TLS contexts are shared by all that trust the same."""

import os
import shutil

from botocore.httpsession import get_cert_path

from monitor.aws.sessions import DirectHTTP


def _context(**chosen):
    return DirectHTTP(**chosen)._build_ssl_contexts(None)[0]


def test_clients_that_trust_the_same_share_a_context():
    assert _context() is _context()
    assert _context(verify=False) is _context(verify=False)
    assert _context() is not _context(verify=False)
    assert _context().check_hostname


def test_a_bundle_that_was_replaced_is_read_again(tmp_path):
    bundle = tmp_path / "bundle.pem"
    shutil.copy(get_cert_path(verify=True), bundle)
    first = _context(verify=str(bundle))
    assert _context(verify=str(bundle)) is first
    os.utime(bundle, ns=(1, 1))
    assert _context(verify=str(bundle)) is not first


def test_what_loads_a_certificate_of_its_own_shares_no_context():
    plain = _context()
    proxied, proxy = DirectHTTP(proxies={})._build_ssl_contexts("http://127.0.0.1:1")
    assert proxied is not plain
    assert proxy is not None
    assert proxy is not proxied
