"""Each service on its own over the real servers, looked at from outside: over HTTP, and in what they share."""

import uuid

import pytest

from harness.fleet import PASSWORD, SERVICES, Fleet


@pytest.fixture(scope="package")
def fleet_of_all(all_servers, tmp_path_factory):
    fleet = Fleet(all_servers, tmp_path_factory.mktemp("wire"))
    yield fleet
    fleet.close()


@pytest.fixture
def fleet(fleet_of_all):
    """All four services with their usual settings, and empty queues."""
    fleet_of_all.purge()
    return fleet_of_all.become(*SERVICES)


@pytest.fixture
def name():
    """An address that nobody has had before."""
    return f"{uuid.uuid4().hex}@example.com"


@pytest.fixture
def new_user(fleet_of_all):
    """A function that makes users, by rows in the table."""
    def make(email=None, password=PASSWORD):
        email = email or f"{uuid.uuid4().hex}@example.com"
        fleet_of_all.add_user(email, password)
        return email
    return make


@pytest.fixture
def ann(fleet, new_user):
    return fleet.login(new_user(), PASSWORD)


@pytest.fixture
def bob(fleet, new_user):
    return fleet.login(new_user(), PASSWORD)
