"""The traces of the four services, as a collector receives them."""

import http.server
import json
import secrets
import threading
import time

import pika
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collected

from harness.clips import GOOD, SILENT
from harness.clock import until
from harness.fleet import SERVICES, Separate
from harness.http import User, ask
from harness.servers.server import free_port


def values(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Span:
    """A span as it was collected."""

    def __init__(self, service, span):
        self.service, self.name, self.kind, self.status = service, span.name, span.kind, span.status
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.state, self.start, self.end = span.trace_state, span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = values(span.attributes)

    def __repr__(self):
        return f"{self.service}: {self.name}"


class Collector:
    """What OTLP over HTTP asks of a collector."""

    def __init__(self, port=0):
        self.spans, self.resources, self.paths = [], {}, set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, self.headers["Content-Type"], body)
                answer = collected.ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, kind, body):
        self.paths.add((path, kind))
        for resource in collected.ExportTraceServiceRequest.FromString(body).resource_spans:
            about = values(resource.resource.attributes)
            self.resources[about["service.name"]] = about
            for scope in resource.scope_spans:
                self.spans += [Span(about["service.name"], span) for span in scope.spans]

    def named(self, trace, service, name):
        return [span for span in list(self.spans) if (span.trace, span.service, span.name) == (trace, f"micropy-{service}", name)]

    def one(self, trace, service, name):
        """The only span of that name."""
        found = until(lambda: self.named(trace, service, name))
        assert len(found) == 1, f"{service}: {name} is not among {sorted(map(str, self.spans))}"
        return found[0]


def client_of(fleet):
    client = User(fleet.gateway.url, f"{secrets.token_hex(4)}@example.com").register()
    client.health_url = fleet.gateway.health_url
    return client


@pytest.fixture
def fleet(all_servers, tmp_path):
    """A function that makes a fleet with a setting for the collector."""
    made = []

    def make(*names, **more):
        made.append(Separate(all_servers, tmp_path, OTEL_BSP_SCHEDULE_DELAY="200", **more))
        made[-1].purge()
        return made[-1].become(*names)

    yield make
    for one in made:
        one.close()


def begun():
    """A trace that a client began: its id, its span, and the header that names it."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-01"}


def messaging(queue, name, kind, job):
    return {"messaging.system": "rabbitmq", "messaging.destination.name": queue, "messaging.operation.name": name,
            "messaging.operation.type": kind, "job_id": job}


def has(span, about):
    assert {key: span.attributes.get(key) for key in about} == about


def uploaded(collector, trace, client_span, job):
    """The spans of an upload at the gateway; returns that of its message."""
    request = collector.one(trace, "gateway", "POST /upload")
    assert (request.parent, request.kind) == (client_span, 2)
    has(request, {"http.request.method": "POST", "http.route": "/upload", "url.path": "/upload", "url.scheme": "http",
                  "http.response.status_code": 200})
    publish = collector.one(trace, "gateway", "video publish")
    assert (publish.parent, publish.kind) == (request.id, 4)
    has(publish, messaging("video", "publish", "send", job))
    return publish


def mailed(collector, trace, parent, job, queue="mp3"):
    process = collector.one(trace, "notification", f"{queue} process")
    assert process.parent == parent
    has(process, messaging(queue, "process", "process", job))
    mail = collector.one(trace, "notification", "mail")
    assert (mail.parent, mail.kind) == (process.id, 3)


def test_a_trace_goes_through_all_services(fleet):
    collector = Collector()
    traced = fleet(*SERVICES, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    client = client_of(traced)
    an_upload_is_traced_to_its_mail(collector, client)
    a_failure_stands_in_the_trace(collector, client)
    a_login_is_traced_to_the_auth_service(collector, client)
    traced.become("auth", "gateway", "notification")
    a_converter_that_knows_no_traces_passes_them_on(traced, collector, client)
    assert collector.paths == {("/v1/traces", "application/x-protobuf")}
    assert sorted(collector.resources) == ["micropy-auth", "micropy-converter", "micropy-gateway", "micropy-notification"]
    assert all(about.get("service.version") for about in collector.resources.values())
    # What the last batch holds is sent at the end.
    trace, _, header = begun()
    client.get("/nothing-here", **header)
    assert traced.stop("gateway") == [0]
    assert len(collector.named(trace, "gateway", "GET")) == 1
    assert traced.stop("auth", "notification") == [0, 0]
    for name in SERVICES:
        assert [word for word in ("video process", "otel", "collector") if word in traced.service(name).said()] == []


def an_upload_is_traced_to_its_mail(collector, client):
    trace, span, header = begun()
    job = client.upload(GOOD, path="/upload", **header, tracestate="vendor=1").job_id
    publish = uploaded(collector, trace, span, job)
    process = collector.one(trace, "converter", "video process")
    assert (process.parent, process.kind) == (publish.id, 5)
    has(process, messaging("video", "process", "process", job))
    for name in ("convert", "store"):
        step = collector.one(trace, "converter", name)
        assert step.parent == process.id
        assert process.start <= step.start <= step.end <= process.end
    told = collector.one(trace, "converter", "mp3 publish")
    assert told.parent == process.id
    mailed(collector, trace, told.id, job)
    assert {span.state for span in collector.spans if span.trace == trace} == {"vendor=1"}


def a_failure_stands_in_the_trace(collector, client):
    trace, span, header = begun()
    job = client.upload(SILENT, path="/upload", **header).job_id
    publish = uploaded(collector, trace, span, job)
    process = collector.one(trace, "converter", "video process")
    assert process.parent == publish.id
    assert (process.status.code, "no audio track" in process.status.message) == (2, True)
    mailed(collector, trace, collector.one(trace, "converter", "mp3.failed publish").id, job, "mp3.failed")


def a_login_is_traced_to_the_auth_service(collector, client):
    trace, span, header = begun()
    bystander = User(client.url)
    assert bystander.ask("POST", "/login", basic="nobody@example.com:wrong", **header).status == 401
    request = collector.one(trace, "gateway", "POST /login")
    # A refusal is no error of ours.
    assert (request.parent, request.status.code) == (span, 0)
    call = collector.one(trace, "gateway", "POST")
    assert (call.parent, call.kind, call.attributes.get("http.response.status_code")) == (request.id, 3, 401)
    assert collector.one(trace, "auth", "POST /login").parent == call.id
    for url, probe in ((client.url, "/healthz"), (client.health_url, "/readyz"), (client.health_url, "/metrics")):
        ask("GET", url + probe, **header)
    assert bystander.get("/nothing-here", **header).status == 404
    assert collector.one(trace, "gateway", "GET").attributes.get("url.path") == "/nothing-here"
    # A service sends its spans in the order in which they ended: those of the probes would be there.
    assert {span.name for span in collector.spans if span.trace == trace} == {"POST /login", "POST", "GET"}


def a_converter_that_knows_no_traces_passes_them_on(traced, collector, client):
    trace, span, header = begun()
    job = client.upload(GOOD, path="/upload", **header).job_id
    publish = uploaded(collector, trace, span, job)
    method, properties, payload = traced.take("video", 10, ack=False)
    body = json.loads(payload)
    assert body["traceparent"] == f"00-{trace}-{publish.id}-01"
    assert "tracestate" not in body
    assert [key for key in properties.headers or {} if "trace" in key] == []
    # As the original's convert.to_mp3.start does it.
    body["mp3_fid"] = secrets.token_hex(12)
    traced.channel.basic_publish("", "mp3", json.dumps(body), pika.BasicProperties(delivery_mode=2))
    traced.channel.basic_ack(method.delivery_tag)
    mailed(collector, trace, publish.id, job)


def test_a_missing_collector_costs_one_line_in_the_log_and_nothing_else(fleet):
    port = free_port()
    traced = fleet("auth", "gateway", otlp_endpoint=f"http://127.0.0.1:{port}")
    client, gateway = client_of(traced), traced.gateway
    began = time.monotonic()
    for _ in range(200):
        client.get("/nothing-here")
    assert time.monotonic() - began < 10
    failing = "the collector of traces fails"
    assert until(lambda: failing in gateway.said())
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 20
    assert gateway.said().count(failing) == 1
    collector = Collector(port)
    gateway.start()
    trace, span, header = begun()
    client.get("/nothing-here", **header)
    assert collector.one(trace, "gateway", "GET").parent == span


def test_without_the_setting_a_message_has_no_key_for_a_trace(fleet):
    traced = fleet("auth", "gateway")
    client_of(traced).upload(GOOD, path="/upload", **begun()[2])
    assert sorted(traced.take_json("video", 10)) == ["file_name", "job_id", "mp3_fid", "username", "video_fid"]
    assert traced.stop("auth", "gateway") == [0, 0]
