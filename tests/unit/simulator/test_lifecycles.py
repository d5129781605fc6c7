import random

import pytest

from monitor.simulator import lifecycles, members

EVERY = [
    (service, profile)
    for service in lifecycles.OUTCOMES
    for profile in lifecycles.profiles(service)
]


@pytest.mark.parametrize(("service", "profile"), EVERY)
def test_every_profile_gives_lives_that_its_service_knows(service, profile):
    for seed in range(20):
        for step in lifecycles.draw(service, profile, 10.0, random.Random(seed)):
            step.check(service)
            assert 5.0 <= step.after <= 15.0


def test_the_same_seed_gives_the_same_life():
    lives = [lifecycles.draw("importexport", "mixed", 5.0, random.Random(7)) for _ in range(2)]
    assert lives[0] == lives[1]


def test_mixed_lives_differ():
    chance = random.Random(1)
    lives = [lifecycles.draw("importexport", "mixed", 5.0, chance) for _ in range(200)]
    last = {str(life[-1].set.get("ProgressCode")) for life in lives}
    assert {"Canceled", "Expired"} < last


def test_failures_are_of_several_kinds():
    chance = random.Random(1)
    lives = [lifecycles.draw("importexport", "failure", 5.0, chance) for _ in range(100)]
    assert len({step.set.get("ProgressCode") for life in lives for step in life}) > 5


def test_a_returned_device_has_a_carrier_and_a_tracking_number():
    followed = members.consequences("EX1", {"LocationCode": "Returned"})
    assert followed["Carrier"] == "UPS"
    assert followed["TrackingNumber"].startswith("1Z")


def test_what_a_scenario_sets_is_not_overruled():
    changed = {"LocationCode": "Returned", "LocationMessage": "home", "Carrier": "Bike"}
    assert members.consequences("EX1", changed).keys() == {"TrackingNumber"}
