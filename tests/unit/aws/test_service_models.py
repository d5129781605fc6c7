"""The endpoints, which are kept packed, resolve as the SDK's own reader has them."""

import botocore.loaders
import pytest
from botocore.regions import EndpointResolver

from monitor.aws import service_models

SERVICES = ("sns", "sts", "importexport", "panorama", "batch", "iam", "events", "no-such-service")
REGIONS = ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "nowhere-1")


@pytest.fixture(scope="module")
def ours():
    return service_models.loader({}).load_data("endpoints")


@pytest.fixture(scope="module")
def theirs():
    return botocore.loaders.Loader().load_data("endpoints")


@pytest.mark.parametrize("service", SERVICES)
def test_every_region_resolves_as_with_the_sdks_own_data(ours, theirs, service):
    one, other = EndpointResolver(ours), EndpointResolver(theirs)
    for region in REGIONS:
        for fips in (False, True):
            assert _resolved(one, service, region, fips) == _resolved(other, service, region, fips)
    assert one.get_available_endpoints(service) == other.get_available_endpoints(service)


def _resolved(resolver, service, region, fips):
    try:
        # Twice, as the SDK keeps in what it was given what it finds out.
        resolver.construct_endpoint(service, region, use_fips_endpoint=fips)
        return resolver.construct_endpoint(service, region, use_fips_endpoint=fips)
    except Exception as error:  # noqa: BLE001 -- whatever it is, both must say it
        return repr(error)


def test_all_services_are_there(ours, theirs):
    pairs = list(zip(ours["partitions"], theirs["partitions"], strict=True))
    assert sum(len(one["services"]) for one, _ in pairs) > 500
    for one, other in pairs:
        assert list(one["services"]) == list(other["services"])
        assert len(one["services"]) == len(other["services"])
        assert "no-such-service" not in one["services"]
        assert one["services"].get("no-such-service") is None
