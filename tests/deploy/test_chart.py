"""The chart: every variant is valid, confined, of one piece and readable by the gateway; what is wrong is refused."""
import ipaddress

import kubernetes_validate
import pytest
import yaml

from conftest import BIN, CHART, HELM, ROOT, VALUES, check, objects, run, template

# Kinds of others: their definitions are not Kubernetes' own.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
METADATA = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"]


@pytest.fixture(scope="module", params=list(VALUES))
def variant(request):
    """The name of a set of values, and its objects."""
    made = template(VALUES[request.param])
    assert made.returncode == 0, made.stderr
    return request.param, objects(made.stdout)


def one(found, kind, name=None):
    """The only object of a kind (and name)."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    fitting = [each for each in found if each["kind"] in kinds and name in (None, each["metadata"]["name"])]
    assert len(fitting) == 1, [each["metadata"]["name"] for each in fitting]
    return fitting[0]


def workload(found):
    return one(found, ("Deployment", "StatefulSet"))


def seconds(text):
    """A duration of the configuration, in seconds."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    unit = "ms" if text.endswith("ms") else text[-1]
    return float(text.removesuffix(unit)) * units[unit]


def test_helm_finds_nothing_to_complain_of():
    for values in VALUES.values():
        made = run(HELM, "lint", "--strict", CHART, *(["-f", values] if values else []))
        assert made.returncode == 0, made.stdout + made.stderr


def test_every_object_is_one_of_kubernetes(variant):
    _, found = variant
    for each in found:
        if each["kind"] not in CUSTOM:
            for version in ("1.30", "1.35"):
                kubernetes_validate.validate(each, version, strict=True)
        names = {each["metadata"].get("namespace")}
        assert names == {"llm"}, each["metadata"]["name"]


def test_the_gateway_takes_the_configuration_and_warns_of_nothing(variant, tmp_path):
    name, found = variant
    config = one(found, "ConfigMap", "gw-llm-gateway")["data"]["gateway.yaml"]
    said = check(config, tmp_path)
    assert said.returncode == 0, said.stderr
    assert "warning:" not in said.stdout, said.stdout
    if name == "ha":
        # Numbers are not rounded on their way.
        assert "projects.web.tpm = 2000000 " in said.stdout


def test_the_pods_are_as_confined_as_the_strictest_profile_wants(variant):
    _, found = variant
    pod = workload(found)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in pod["containers"] + pod.get("initContainers", []):
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]} and context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys() and container["resources"]["limits"]["memory"]
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret", "projected", "persistentVolumeClaim"}, kinds


def test_names_ports_and_labels_meet(variant):
    _, found = variant
    template_ = workload(found)["spec"]["template"]
    labels, container = template_["metadata"]["labels"], template_["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = yaml.safe_load(one(found, "ConfigMap", "gw-llm-gateway")["data"]["gateway.yaml"])
    assert ports == {"api": int(config["server"]["listen"].rsplit(":", 1)[1]), "ops": int(config["ops"]["listen"].rsplit(":", 1)[1])}
    selectors = [each["spec"]["selector"] for each in found if each["kind"] == "Service"]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in found if each["kind"] == "PodDisruptionBudget"]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in found if each["kind"] == "NetworkPolicy"]
    assert len(selectors) >= 4
    assert all(selector.items() <= labels.items() for selector in selectors)
    targets = {port["targetPort"] for each in found if each["kind"] == "Service" for port in each["spec"]["ports"]}
    assert targets <= ports.keys()
    volumes = {volume["name"] for volume in template_["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in workload(found)["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_there_is_time_enough_to_drain(variant):
    _, found = variant
    pod = workload(found)["spec"]["template"]["spec"]
    server = yaml.safe_load(one(found, "ConfigMap", "gw-llm-gateway")["data"]["gateway.yaml"])["server"]
    sleep = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    # 10 s to settle and half a second for those who are cut.
    assert pod["terminationGracePeriodSeconds"] > sleep + seconds(server["drain_delay"]) + seconds(server["drain_timeout"]) + 10.5


def test_no_rule_leads_to_a_metadata_service_unless_it_is_asked_for(variant):
    name, found = variant
    reached = set()
    for rule in one(found, "NetworkPolicy")["spec"]["egress"]:
        for peer in rule.get("to", []):
            block = peer.get("ipBlock")
            for address in METADATA if block else []:
                inside = [ipaddress.ip_address(address) in ipaddress.ip_network(net) for net in [block["cidr"], *block.get("except", [])]]
                if inside[0] and not any(inside[1:]):
                    reached.add((address, rule["ports"][0]["port"]))
    assert {port for _, port in reached} == ({80} if name == "keda" else set()), reached
    for rule in one(found, "NetworkPolicy")["spec"]["ingress"]:
        assert rule["ports"][0]["port"] != "ops" or rule["from"]


def test_replicas_share_a_store_and_are_not_counted_twice(variant):
    name, found = variant
    spec = workload(found)["spec"]
    scaled = [each for each in found if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    assert ("replicas" in spec) == (not scaled)
    assert len(scaled) == (name in ("ha", "keda"))
    for scaler in scaled:
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (workload(found)["kind"], workload(found)["metadata"]["name"])


@pytest.mark.parametrize("values,said", [
    ("replicaCount=2", "more than one replica needs PostgreSQL"),
    ("autoscaling.kind=cpu", "more than one replica needs PostgreSQL"),
    ("persistence.enabled=false", "must be on a volume that lasts"),
    ("terminationGracePeriodSeconds=30", "is less than the drain may take (50)"),
    ("config.server.drain_timeout=soon", "is not a duration"),
    ("config.server.listen=0.0.0.0:0", "listen"),
    ("config.database.url=postgres://u:p@h/d", "put it into the Secret"),
    ("config.admin_key=secret", "the chart sets it"),
    ("config.data_dir=/elsewhere", "the chart sets it"),
    ("replicas=3", "replicas"),
    ("database.enable=true", "enable"),
    ("service.port=0", "port"),
    ("image.digest=latest", "digest"),
    ("persistence.size=5", "size"),
    ("autoscaling.kind=magic", "kind"),
    ("resources.limits=null", "limits"),
    ("ingress.enabled=true", "name the host"),
])
def test_values_that_would_not_work_are_refused_by_name(values, said):
    made = template(None, "--set", values)
    assert made.returncode != 0, "it was taken"
    assert said in made.stderr, made.stderr


def test_a_changed_configuration_replaces_the_pods_and_an_equal_one_does_not():
    sums = []
    for values in ("config.log.level=info", "config.log.level=info", "config.log.level=warn"):
        made = template(None, "--set", values)
        assert made.returncode == 0, made.stderr
        sums.append(workload(objects(made.stdout))["spec"]["template"]["metadata"]["annotations"]["checksum/config"])
    assert sums[0] == sums[1] != sums[2]


def test_a_migration_may_have_rights_that_the_gateway_has_not():
    made = template(VALUES["ha"])
    pod = workload(objects(made.stdout))["spec"]["template"]["spec"]
    secret = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef", {}).get("name") for each in pod["initContainers"][0]["env"]}
    assert secret == {"DATABASE_URL": "llm-gateway-owner"}
    assert "llm-gateway-owner" not in yaml.safe_dump(pod["containers"])
    assert "migrate: false" in made.stdout


def test_copies_and_plain_manifests_are_what_scripts_chart_makes():
    made = run("scripts/chart", "--check")
    assert made.returncode == 0, made.stdout + made.stderr


def test_rules_and_dashboards_arrive_whole(tmp_path):
    found = objects(template(VALUES["ha"]).stdout)
    rules = one(found, "PrometheusRule")["spec"]
    assert rules == yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    checked = run("promtool", "check", "rules", tmp_path / "rules.yaml")
    assert checked.returncode == 0, checked.stderr
    for path in (ROOT / "grafana/dashboards").glob("*.json"):
        assert one(found, "ConfigMap", f"gw-llm-gateway-{path.stem}")["data"][path.name] == path.read_text()


def test_checkov_accepts_every_variant(tmp_path):
    for name, values in VALUES.items():
        made = [each for each in objects(template(values).stdout) if each["kind"] not in CUSTOM]
        # It would read each dashboard for minutes.
        made = [each for each in made if each["kind"] != "ConfigMap"]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(made))
    (tmp_path / "plain.yaml").write_text((ROOT / "deploy/kubernetes/llm-gateway.yaml").read_text())
    checked = run(BIN / "checkov", "--directory", tmp_path, "--config-file", ROOT / "tests/deploy/checkov.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Passed checks" in checked.stdout
