"""Internals of botocore that the monitor subclasses or reads: an upgrade must not move them."""

import inspect

import pytest
from botocore import exceptions, parsers
from botocore.credentials import RefreshableCredentials
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.session import Session

from monitor.aws import errors, service_models
from monitor.errors import PollReason

OPERATION = {
    "metadata": {"protocol": "json", "apiVersion": "2020-01-01", "endpointPrefix": "x"},
    "operations": {"Get": {"name": "Get", "output": {"shape": "Out"}}},
    "shapes": {
        "Out": {
            "type": "structure",
            "members": {"At": {"shape": "Time"}, "All": {"shape": "List"}},
        },
        "Time": {"type": "timestamp"},
        "List": {"type": "list", "member": {"shape": "Text"}},
        "Text": {"type": "string"},
    },
}


@pytest.mark.parametrize("parser", parsers.PROTOCOL_PARSERS.values(), ids=lambda one: one.__name__)
def test_every_parser_reads_each_value_by_the_method_that_lenient_parser_overrides(parser):
    assert list(inspect.signature(parser._parse_shape).parameters) == ["self", "shape", "node"]
    assert list(inspect.signature(parser._handle_list).parameters) == ["self", "shape", "node"]


@pytest.mark.parametrize("parser", [parsers.QueryParser, parsers.RestXMLParser])
def test_xml_is_parsed_by_the_method_that_lenient_parser_overrides(parser):
    signature = inspect.signature(parser._parse_xml_string_to_dom)
    assert list(signature.parameters) == ["self", "xml_string"]


def test_a_time_is_read_by_the_timestamp_parser_of_the_factory():
    factory = parsers.ResponseParserFactory()
    factory.set_parser_defaults(timestamp_parser=lambda value: ("read", value))
    output = ServiceModel(OPERATION, "x").operation_model("Get").output_shape
    response = {"status_code": 200, "headers": {}, "body": b'{"At": 7}'}
    assert factory.create_parser("json").parse(response, output)["At"] == ("read", 7)


def test_what_a_parser_raises_names_its_module_in_the_traceback():
    """``errors.is_from_parser`` recognises bare exceptions by it."""
    output = ServiceModel(OPERATION, "x").operation_model("Get").output_shape
    response = {"status_code": 200, "headers": {}, "body": b'{"At": 7, "All": 7}'}
    parser = parsers.ResponseParserFactory().create_parser("json")
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- whichever it is
        parser.parse(response, output)
    assert errors.is_from_parser(caught.value)


def test_refreshable_credentials_keep_their_expiry_where_credential_fetch_reads_it():
    source = inspect.getsource(RefreshableCredentials)
    assert "self._expiry_time = " in source
    assert "self._frozen_credentials = " in source
    assert callable(RefreshableCredentials._is_expired)


def test_an_http_error_carries_what_it_wraps():
    cause = OSError()
    assert errors.cause(exceptions.HTTPClientError(error=cause)) is cause


def test_an_endpoint_error_carries_what_it_wraps():
    error = exceptions.EndpointConnectionError(endpoint_url="x", error=FileNotFoundError(2, "x"))
    assert errors.unanswered(error).reason is PollReason.TRANSIENT
    assert errors.unanswered(error).code == "ENOENT"


def test_the_loader_reads_files_by_the_two_methods_of_model_files():
    source = inspect.getsource(Loader)
    assert "self.file_loader.load_file(" in source
    assert "self.file_loader.exists(" in source
    assert set(service_models.loader().list_available_services("service-2")) >= {"sts", "sqs"}


@pytest.mark.parametrize("name", service_models._NEEDED_BY_CLIENTS)
def test_a_client_still_reads_the_data_that_warm_up_reads_ahead(name):
    assert Session().get_component("data_loader").load_data(name)


def test_a_session_takes_its_components_by_the_names_that_are_replaced():
    session = Session()
    for name in ("data_loader", "response_parser_factory", "credential_provider"):
        assert session.get_component(name)
