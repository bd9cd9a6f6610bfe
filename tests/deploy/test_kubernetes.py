"""The Kubernetes objects: valid, in step with the program's settings, and leading to each other."""

import base64
import ipaddress
import json
import re

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1

from harness.deployment import DEPLOY, program, run
from harness.fleet import SERVICES
from harness.settings import Container, seconds

KUBERNETES = DEPLOY / "kubernetes"
REPLICAS = {"auth": 2, "gateway": 2, "converter": 4, "notification": 4}
WORKLOADS = ["StatefulSet/rabbitmq", *(f"Deployment/{service}" for service in SERVICES)]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
# The objects of the Flask set: clients, scripts and colleagues know them by these names.
ORIGINALS = {f"{kind}/{service}{suffix}" for service in SERVICES
             for kind, suffix in (("Deployment", ""), ("ConfigMap", "-configmap"), ("Secret", "-secret"))}
ORIGINALS |= {"Service/auth", "Service/gateway", "Service/rabbitmq", "Ingress/gateway-ingress", "StatefulSet/rabbitmq",
              "PersistentVolumeClaim/rabbitmq-pvc", "ConfigMap/rabbitmq-configmap", "Secret/rabbitmq-secret"}
# Clusters in use have these; the newest schema that is installed comes on top.
VERSIONS = ["1.28.0", "1.31.0", "1.34.0", kubernetes_validate.latest_version()]
PLACEHOLDER = "replace-me"
OURS = {"app.kubernetes.io/part-of": "micropy"}


def name_of(thing):
    return f"{thing['kind']}/{thing['metadata']['name']}"


def build(folder):
    """The objects of a kustomization."""
    tool = program("kubectl", "kustomize")
    done = run(tool, "kustomize" if tool.endswith("kubectl") else "build", KUBERNETES / folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def built():
    """What each kustomization makes."""
    return {name: build(name) for name in ("base", "keda", "s3", "secrets")}


@pytest.fixture(scope="module")
def objects(built):
    return {name_of(thing): thing for thing in built["base"]}


@pytest.fixture(scope="module")
def secrets(built):
    """The data of each Secret, by its name."""
    return {thing["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in thing.get("data", {}).items()}
            for thing in built["secrets"]}


@pytest.mark.parametrize("folder", ["base", "keda", "s3", "secrets"])
@pytest.mark.parametrize("version", VERSIONS)
def test_all_objects_are_valid_in_kubernetes(built, folder, version):
    for thing in built[folder]:
        if not thing["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(thing, version, strict=True)


def test_keda_reads_all_of_its_objects(built):
    things = [thing for thing in built["keda"] if thing["apiVersion"].startswith("keda.sh/")]
    assert things
    for thing in things:
        # The model passes over what it does not know.
        model = getattr(v1alpha1, thing["kind"]).model_validate(thing)
        assert json.loads(model.model_dump_json(by_alias=True, exclude_unset=True)) == thing


def test_no_name_stands_twice(built):
    for things in built.values():
        assert len({name_of(thing) for thing in things}) == len(things)


def test_the_names_of_the_flask_set_are_there(built, objects):
    assert ORIGINALS - set(objects) - {name_of(thing) for thing in built["secrets"]} == set()


def test_applying_the_base_again_overwrites_no_secret(objects):
    assert [name for name in objects if name.startswith("Secret/")] == []


def test_what_ships_as_a_secret_is_a_placeholder(secrets):
    # Not every mail server is named by a URL.
    assert [(name, key) for name, data in secrets.items() for key, value in data.items()
            if PLACEHOLDER not in value and (key, value) != ("MICROPY_NOTIFIER_URL", "")] == []


def test_no_config_map_holds_a_secret(objects):
    for name, thing in objects.items():
        if thing["kind"] == "ConfigMap":
            assert {key for key in thing["data"] if re.search("PASSWORD$|SECRET|_URL$", key)} <= {"MICROPY_PUBLIC_URL"}, name


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_applied_by_itself(objects, service):
    alone = build(f"base/{service}")
    assert [objects.get(name_of(thing)) for thing in alone] == alone
    assert {f"Deployment/{service}", f"ConfigMap/{service}-configmap", f"PodDisruptionBudget/{service}"} <= set(map(name_of, alone))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_is_restricted_and_gets_no_more_of_the_cluster_than_it_needs(objects, name):
    # The Pod Security Standard `restricted`.
    pod = objects[name]["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert context["runAsNonRoot"] and context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert [key for key in pod if key.startswith("host")] == []
    allowed = {"secret", "configMap", "emptyDir", "persistentVolumeClaim", "projected"}
    assert [volume["name"] for volume in pod["volumes"] if not allowed & set(volume)] == []
    for container in pod["containers"]:
        inner = container["securityContext"]
        assert (inner["allowPrivilegeEscalation"], inner["capabilities"]) == (False, {"drop": ["ALL"]})
        resources = container.get("resources", {})
        assert {"cpu", "memory"} <= set(resources["requests"]) and "memory" in resources["limits"]
        ports = {port["name"] for port in container["ports"]}
        for probe in PROBES:
            assert container.get(probe), probe
            asked = container[probe].get("httpGet") or container[probe].get("tcpSocket")
            assert not asked or asked["port"] in ports, probe
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.fixture
def deployment(objects, service):
    return objects[f"Deployment/{service}"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_deployment_runs_its_service(deployment, service):
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert spec["replicas"] == REPLICAS[service]
    # The originals' selector: with any other the apply is refused, or two sets of pods stand side by side.
    assert spec["selector"] == {"matchLabels": {"app": service}}
    assert (container["name"], container["args"]) == (service, [service])
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [spread["labelSelector"] for spread in pod["topologySpreadConstraints"]] == [spec["selector"]]
    for probe in PROBES:
        assert container[probe]["httpGet"]["path"] in ({"/healthz", "/readyz"} if probe == "readinessProbe" else {"/healthz"})


def mounts(deployment):
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.fixture
def container(deployment, objects, secrets, image, service, tmp_path):
    """The variables and secrets of a deployment's container."""
    pod = deployment["spec"]["template"]["spec"]
    [described] = pod["containers"]
    variables, held = {}, {}
    for source in described.get("envFrom", []):
        variables |= objects[f"ConfigMap/{source['configMapRef']['name']}"]["data"]
    variables |= {variable["name"]: variable["value"] for variable in described["env"]}
    for volume in pod["volumes"]:
        if "secret" in volume:
            data = secrets.get(volume["secret"]["secretName"], {})
            held |= {f"{mounts(deployment)[volume['name']]}/{key}": value for key, value in data.items()}
    return Container(service, image | variables, held, tmp_path)


@pytest.mark.parametrize("service", SERVICES)
def test_the_program_reads_what_a_deployment_sets_and_has_time_to_stop(deployment, container):
    pod = deployment["spec"]["template"]["spec"]
    [described] = pod["containers"]
    assert "/tmp" in mounts(deployment).values()
    assert {value for variable, value in container.variables.items() if variable.endswith("_FILE")} == set(container.secrets)
    settings = container.check({port["name"]: port["containerPort"] for port in described["ports"]})
    before = int(described.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])[1])
    assert pod["terminationGracePeriodSeconds"] >= before + seconds(settings.get("grace", ("0s",))[0]) + 5


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("what", ["placeholders", "nonsense"])
def test_a_service_does_not_start_with(container, what):
    container.is_refused(container.secrets if what == "placeholders" else dict.fromkeys(container.secrets, "x://user:hunter2@host"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_before_its_servers_do(container):
    container.starts({path: likely(path) for path in container.secrets})


def likely(path):
    """What could stand in a secret's file, for servers that are not there."""
    return next(text for part, text in (
        ("JWT", 64 * "0"), ("QUEUE", "amqp://user:secret@127.0.0.1:1/%2f"), ("NOTIFIER", "smtp://127.0.0.1:1"),
        ("ADDRESS", "micropy@example.org"), ("PASSWORD", "secret"),
        ("URL", "mongodb://user:secret@127.0.0.1:1/?authSource=admin")) if part in path)


def test_the_broker_has_its_claim_its_files_and_a_configuration(objects, secrets):
    pod = objects["StatefulSet/rabbitmq"]["spec"]["template"]["spec"]
    for volume in pod["volumes"]:
        if "persistentVolumeClaim" in volume:
            claim = objects[f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}"]
            assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    files = {"secret": secrets["rabbitmq-secret"], "configuration": objects["ConfigMap/rabbitmq-configmap"]["data"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        if "subPath" in mount:
            assert mount["subPath"] in files[mount["name"]]
    for text in files["configuration"].values():
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z_.]+ = \S+", line) for line in lines)


class Pods:
    """The workloads, as selectors find them."""

    def __init__(self, objects):
        self.workloads = {name: thing for name, thing in objects.items() if thing["kind"] in ("Deployment", "StatefulSet")}

    def found(self, selector):
        if not {"matchLabels", "matchExpressions"} & set(selector):
            selector = {"matchLabels": selector}
        labels = {name: thing["spec"]["template"]["metadata"]["labels"] for name, thing in self.workloads.items()}
        return [name for name, own in labels.items()
                if all(own.get(key) == value for key, value in selector.get("matchLabels", {}).items())
                and all(own.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))]

    def ports(self, workload):
        container = self.workloads[workload]["spec"]["template"]["spec"]["containers"][0]
        return {port["name"]: port["containerPort"] for port in container["ports"]}


@pytest.fixture(scope="module")
def pods(objects):
    return Pods(objects)


def of_kind(objects, kind):
    return {name: thing for name, thing in objects.items() if thing["kind"] == kind}


def test_services_lead_to_pods_and_to_their_ports(objects, pods):
    wanted = {"Service/auth": {5000}, "Service/gateway": {8080}, "Service/rabbitmq": {5671, 5672, 15672}}
    for name, thing in of_kind(objects, "Service").items():
        ports = thing["spec"]["ports"]
        assert {port["port"] for port in ports} == wanted[name]
        [pod] = pods.found(thing["spec"]["selector"])
        assert [port["port"] for port in ports] == [pods.ports(pod).get(port["targetPort"]) for port in ports], name


def test_disruption_budgets_are_those_of_their_deployments(objects, pods):
    for name, thing in of_kind(objects, "PodDisruptionBudget").items():
        assert pods.found(thing["spec"]["selector"]) == [f"Deployment/{thing['metadata']['name']}"], name


def test_the_ingress_leads_to_the_gateway_and_lets_large_uploads_through(objects):
    for name, thing in of_kind(objects, "Ingress").items():
        for path in (path for rule in thing["spec"]["rules"] for path in rule["http"]["paths"]):
            backend = path["backend"]["service"]
            ports = objects[f"Service/{backend['name']}"]["spec"]["ports"]
            assert backend["port"]["number"] in {port["port"] for port in ports}
        annotations = {key.split("/")[1]: value for key, value in thing["metadata"]["annotations"].items()}
        assert {("proxy-body-size", "0"), ("proxy-read-timeout", "600"), ("proxy-send-timeout", "600")} <= set(annotations.items()), name


def test_network_policies_let_in_what_they_let_out_and_only_the_gateway_from_outside(objects, pods):
    allowed, asked = set(), set()
    for name, thing in of_kind(objects, "NetworkPolicy").items():
        spec = thing["spec"]
        chosen = pods.found(spec["podSelector"])
        assert chosen, name
        # None of the Flask services'.
        assert OURS.items() <= spec["podSelector"]["matchLabels"].items(), name
        for rule in spec.get("ingress", []):
            for port in (port["port"] for port in rule["ports"]):
                assert [pod for pod in chosen if port not in pods.ports(pod).values()] == [], name
                for source in rule["from"]:
                    froms = pods.found(source["podSelector"]) if "podSelector" in source else ["outside"]
                    allowed |= {(pod, to, port) for pod in froms for to in chosen}
        for rule in spec.get("egress", []):
            for to in rule.get("to", []):
                targets = pods.found(to["podSelector"]) if "podSelector" in to else []
                asked |= {(pod, target, port["port"]) for pod in chosen for target in targets for port in rule["ports"]}
    outside = {way for way in allowed if way[0] == "outside"}
    assert asked ^ (allowed - outside) == set()
    metrics = {("outside", f"Deployment/{service}", 8081) for service in SERVICES}
    assert outside == {("outside", "Deployment/gateway", 8080)} | metrics


def ways_out(objects, pods, address):
    """(service, port) for each way to an address that is none of our pods'."""
    address, found = ipaddress.ip_address(address), set()

    def covers(network):
        return address in ipaddress.ip_network(network)

    def leads_there(to):
        block = to.get("ipBlock", {})
        return block and covers(block["cidr"]) and not any(map(covers, block.get("except", [])))
    for thing in of_kind(objects, "NetworkPolicy").values():
        for rule in thing["spec"].get("egress", []):
            if "to" not in rule or any(map(leads_there, rule["to"])):
                found |= {(pod.partition("/")[2], port["port"]) for pod in pods.found(thing["spec"]["podSelector"]) for port in rule["ports"]}
    return found


# The stores and the mail server may be anywhere.
SERVERS = {("auth", 3306), ("gateway", 27017), ("converter", 27017), ("notification", 27017), ("notification", 587), ("notification", 465)}
WEB = {(service, port) for service in ("converter", "notification") for port in (80, 443)}


@pytest.mark.parametrize("address", ["198.41.0.4", "8.8.8.8", "172.15.0.1", "2001:500:2::c", "2606:4700::1111"])
def test_imports_and_webhooks_reach_the_web_and_nobody_else_does(objects, pods, address):
    assert ipaddress.ip_address(address).is_global
    assert ways_out(objects, pods, address) == SERVERS | WEB


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.0.0.1", "10.96.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.169.254", "100.100.100.200",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fd00:ec2::254", "fc00::1", "2001:db8::1", "2002:7f00:1::",
    "::ffff:10.0.0.1", "64:ff9b::a00:1"])
def test_they_reach_neither_the_cluster_nor_the_services_of_the_cloud(objects, pods, address):
    assert ways_out(objects, pods, address) == SERVERS


def test_prometheus_is_told_where_the_metrics_are_and_no_ingress_leads_there(objects, pods):
    for service in SERVICES:
        template = objects[f"Deployment/{service}"]["spec"]["template"]
        port = pods.ports(f"Deployment/{service}")["health"]
        annotations = template["metadata"]["annotations"]
        assert (annotations["prometheus.io/scrape"], annotations["prometheus.io/port"]) == ("true", str(port))
        [container] = template["spec"]["containers"]
        assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {"health"}
        for name, thing in of_kind(objects, "Service").items():
            assert port not in {one["port"] for one in thing["spec"]["ports"]}, name


def test_by_default_nothing_is_let_through_to_any_pod(objects, pods):
    deny = objects["NetworkPolicy/micropy-default-deny"]["spec"]
    assert pods.found(deny["podSelector"]) == list(pods.workloads)
    assert (deny["policyTypes"], len(deny)) == (["Ingress", "Egress"], 2)


def test_keda_scales_the_converters_by_their_queue(built, objects, secrets):
    things = {name_of(thing): thing for thing in built["keda"]}
    scaled = things["ScaledObject/converter"]["spec"]
    assert set(objects) <= set(things)
    # The number of converters is not fought over.
    assert "replicas" not in things[f"Deployment/{scaled['scaleTargetRef']['name']}"]["spec"]
    assert 0 < scaled["minReplicaCount"] < scaled["maxReplicaCount"]
    [trigger] = scaled["triggers"]
    assert (trigger["type"], trigger["metadata"]["mode"]) == ("rabbitmq", "QueueLength")
    # All that wait for a converter, and no others.
    about, queue = trigger["metadata"], objects["ConfigMap/converter-configmap"]["data"]["VIDEO_QUEUE"]
    assert (about["useRegex"], about["operation"], about["protocol"]) == ("true", "sum", "http")
    counted = re.compile(about["queueName"])
    assert [counted.search(name) is not None for name in (queue, f"{queue}.import")] == [True, True]
    others = [f"{queue}.dead", f"{queue}.import.dead", f"{queue}.import.retry", f"{queue}Ximport", f"my{queue}", "mp3", "mp3.failed"]
    assert [name for name in others if counted.search(name)] == []
    authentication = things[f"TriggerAuthentication/{trigger['authenticationRef']['name']}"]
    for reference in authentication["spec"]["secretTargetRef"]:
        assert reference["key"] in secrets.get(reference["name"], {})


def test_with_a_bucket_the_jobs_stay_in_mongodb_and_nothing_else_changes(built, objects):
    things = {name_of(thing): thing for thing in built["s3"]}
    assert things.keys() == objects.keys()
    changed = {name for name in things if things[name] != objects[name]}
    assert changed == {f"{kind}/{name}" for kind in ("Deployment", "NetworkPolicy") for name in ("gateway", "converter")}
    for name in ("gateway", "converter"):
        [container] = things[f"Deployment/{name}"]["spec"]["template"]["spec"]["containers"]
        files = {entry["name"]: entry["value"] for entry in container["env"]}
        assert files["MICROPY_STORAGE_URL_FILE"] == "/run/secrets/micropy/MICROPY_S3_URL"
        assert files["MICROPY_JOBS_URL_FILE"] == "/run/secrets/micropy/MICROPY_STORAGE_URL"
        ports = {port["port"] for rule in things[f"NetworkPolicy/{name}"]["spec"]["egress"] for port in rule.get("ports", [])}
        assert {443, 27017} <= ports
