"""Internals of aiobotocore that the monitor subclasses or sets: an upgrade must not move them."""

import inspect

import pytest
from aiobotocore import credentials, httpsession, parsers, session
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
