"""What those who run the service see of it: health, metrics, its description, its log."""

import re

import openapi_spec_validator
import pytest

from harness import routes
from harness.clips import GOOD, SILENT
from harness.clock import until

METHODS = {"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"}


@pytest.fixture(scope="module")
def document(service):
    return service.ask("GET", "/api/v1/openapi.json").json()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_service_that_works_is_healthy(service, path):
    assert service.ask_health(path).status == 200


def test_metrics_count_jobs(service, ann):
    ann.uploaded(GOOD)
    ann.uploaded(SILENT)
    text = service.ask_health("/metrics").text
    for name in ('micropy_jobs_total{outcome="done"}', 'micropy_jobs_total{outcome="failed"}',
                 "micropy_job_duration_seconds_count", "micropy_queue_oldest_seconds", "micropy_realtime_factor_count"):
        assert name in text


def test_what_is_for_those_who_run_the_service_is_on_no_port_for_users(service):
    for path in ("/readyz", "/metrics"):
        assert (service.ask("GET", path).status, service.ask_auth("GET", "/metrics").status) == (404, 404)
    assert service.ask("GET", "/healthz").status == 200
    for path in ("/", "/api/v1/about", "/login"):
        assert service.ask_health(path).status == 404


def test_the_openapi_document_is_valid(document):
    assert document["openapi"][:2] == "3."
    openapi_spec_validator.validate(document)


def test_the_openapi_document_has_the_routes_of_the_api(document):
    assert {"/api/v1/auth/register", "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/logout",
            "/api/v1/auth/me", "/api/v1/uploads", "/api/v1/sound", "/api/v1/tus", "/api/v1/tus/{id}", "/api/v1/jobs", "/api/v1/jobs/{id}",
            "/api/v1/jobs/{id}/cancel", "/api/v1/jobs/{id}/retry", "/api/v1/jobs/{id}/mp3", "/api/v1/events",
            "/api/v1/archive", "/healthz"} <= set(document["paths"])


def test_the_openapi_document_has_the_methods_that_are_served(service, document):
    for path, operations in document["paths"].items():
        methods = {method.upper() for method in operations} & METHODS
        # A method that is not there is answered with those that are (RFC 9110, section 15.5.6).
        reply = service.ask("BREW", path.replace("{id}", "0" * 24))
        allowed = set(reply.headers.get("allow", "").split(",")) - {""}
        assert (path, reply.status, allowed) == (path, 405, methods | ({"HEAD"} if "GET" in methods else set()))


def test_operation_ids_are_unique(document):
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(ids) == len(set(ids))


def test_no_route_of_the_api_is_without_a_document(service):
    # Routes of the API come from the document's own router; no other may serve them.
    found = [path for text in routes.sources().values() for path in re.findall(r'\.(?:route|nest|route_service)\(\s*"([^"]*)"', text)]
    assert "/upload" in found
    # The document itself.
    assert [path for path in found if path.startswith("/api/v1")] == ["/api/v1/openapi.json"]
    assert service.ask("GET", "/api/v1/nothing").status == 404


def test_all_services_log_a_job_by_its_id(service, ann):
    id = ann.uploaded(GOOD)["id"]

    def heard():
        return {part for _, entry in service.entries(id) if entry.get("job_id") == id for part in entry["target"].split("::")}

    assert until(lambda: {"uploads", "converter", "notification"} <= heard(), 10), heard()


def test_no_password_is_logged(service, ann):
    ann.login()
    assert "correct horse" not in service.said()
