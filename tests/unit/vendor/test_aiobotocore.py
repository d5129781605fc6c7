"""Internals of aiobotocore that the monitor subclasses or sets: an upgrade must not move them."""

import inspect

import pytest
from aiobotocore import client, credentials, endpoint, httpsession, parsers, session
from aiobotocore.config import AioConfig

from monitor.aws import credentials as ours
from monitor.aws import lenient_parser, sessions


@pytest.fixture
def providers():
    chain = session.AioSession().get_component("credential_provider").providers
    return {type(one): one for one in chain}


def test_the_chain_has_every_provider_that_a_session_guards(providers):
    assert providers.keys() >= {
        credentials.AioAssumeRoleProvider,
        credentials.AioAssumeRoleWithWebIdentityProvider,
        credentials.AioContainerProvider,
        credentials.AioInstanceMetadataProvider,
    }


def test_every_provider_names_its_method_and_is_loaded_by_load(providers):
    for provider in providers.values():
        assert provider.METHOD
        assert inspect.iscoroutinefunction(provider.load)


def test_assuming_a_role_prompts_for_a_code_by_the_prompter(providers):
    assert callable(providers[credentials.AioAssumeRoleProvider]._prompter)


def test_a_web_identity_token_is_read_by_the_token_loader(providers):
    provider = providers[credentials.AioAssumeRoleWithWebIdentityProvider]
    assert callable(provider._token_loader_cls)


def test_container_credentials_come_from_an_environment_and_a_fetcher_with_a_session(providers):
    provider = providers[credentials.AioContainerProvider]
    assert hasattr(provider, "_environ")
    assert inspect.iscoroutinefunction(provider._fetcher._session._get_session)


def test_instance_metadata_comes_from_a_fetcher_with_a_session(providers):
    provider = providers[credentials.AioInstanceMetadataProvider]
    assert inspect.iscoroutinefunction(provider._role_fetcher._session._get_session)


def test_a_session_keeps_the_credentials_it_has_found():
    assert session.AioSession()._credentials is None


def test_the_signer_reads_credentials_by_the_methods_of_our_cache():
    for name in ("get_frozen_credentials", "get_account_id", "get_deferred_property"):
        assert hasattr(ours.CredentialCache, name)
        assert hasattr(credentials.AioCredentials, name)


def test_a_role_is_assumed_by_a_fetcher_with_these_arguments():
    signature = inspect.signature(credentials.AioAssumeRoleCredentialFetcher)
    signature.bind(None, None, "arn", extra_args={}, cache={})
    signature = inspect.signature(credentials.AioDeferredRefreshableCredentials)
    signature.bind(None, "assume-role")


def test_requests_go_through_the_session_that_direct_http_wraps():
    source = inspect.getsource(httpsession.AIOHTTPSession)
    assert "await self._get_session(" in source
    assert "auto_decompress=False" in source, "a body may decompress to more than its bound"
    overridden = inspect.signature(sessions.DirectHTTP._get_session)
    wrapped = inspect.signature(httpsession.AIOHTTPSession._get_session)
    assert list(overridden.parameters) == list(wrapped.parameters)


def test_the_http_session_of_a_client_can_be_configured():
    config = AioConfig(http_session_cls=sessions.DirectHTTP)
    assert config.http_session_cls is sessions.DirectHTTP


def test_there_is_a_lenient_parser_for_every_protocol():
    assert lenient_parser._PARSERS.keys() == parsers.PROTOCOL_PARSERS.keys()
    for parser in parsers.PROTOCOL_PARSERS.values():
        assert inspect.iscoroutinefunction(parser.parse)
        assert list(inspect.signature(parser.parse).parameters) == ["self", "response", "shape"]


def test_a_parser_that_has_the_whole_body_waits_for_nothing():
    """``lenient_parser`` drives it without an event loop, in a thread."""
    response = {"status_code": 200, "headers": {}, "body": b"{}"}
    parsing = parsers.create_parser("json").parse(response, None)
    with pytest.raises(StopIteration) as end:
        parsing.send(None)
    assert end.value.value["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_replayed_response_goes_through_the_steps_of_the_endpoint():
    """``fast.response`` enters where a request would be sent, and goes on as a client does."""
    signature = inspect.signature(endpoint.AioEndpoint._get_response)
    assert list(signature.parameters) == ["self", "request", "operation_model", "context"]
    assert inspect.iscoroutinefunction(endpoint.AioEndpoint._get_response)
    sending = inspect.getsource(endpoint.AioEndpoint._do_get_response)
    assert 'f"before-send.{' in sending
    assert "first_non_none_response(responses)" in sending
    after = inspect.getsource(client.AioBaseClient._make_api_call)
    after = after.partition("_make_request(")[2]
    for step in ("after-call.", "error_code_override", "exceptions.from_code", ">= 300"):
        assert step in after


def test_the_http_session_knows_what_a_connection_of_our_own_trusts():
    made = httpsession.AIOHTTPSession(verify="/bundle", client_cert=("cert", "key"))
    assert (made._verify, made._cert_file, made._key_file) == ("/bundle", "cert", "key")
    assert list(inspect.signature(made._build_ssl_contexts).parameters) == ["proxy_url"]
    assert made._proxy_config.proxy_url_for("https://example.com") is None


def test_the_http_session_asks_for_no_packed_body():
    """``fast.request`` adds them too; the bytes are compared by tests/contracts/test_paths.py."""
    source = inspect.getsource(httpsession.AIOHTTPSession.send)
    assert "headers_['Accept-Encoding'] = 'identity'" in source


def test_a_client_serialises_by_its_serializer():
    source = inspect.getsource(client.AioBaseClient._convert_to_request_dict)
    assert "self._serializer.serialize_to_request(" in source
    assert "request_dict.pop('host_prefix', None)" in source
