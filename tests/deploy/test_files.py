"""The other files: Dockerfiles, YAML, the systemd unit, the compose file and its demo."""
import os
import re
import shutil
import stat

import pytest
import yaml
from compose_spec import PyOptions

from conftest import ADMIN_KEY, BIN, GATEWAY, ROOT, ask, check, eventually, free_port, run

DEPLOY = ROOT / "deploy"


def final_stage(path):
    """The instructions of the last stage, but where its files come from."""
    text = re.sub(r"\\\n\s*", "", path.read_text()).split("\nFROM ")[-1]
    lines = [line for line in text.splitlines()[1:] if line and not line.startswith("#")]
    return [line for line in lines if not line.startswith("COPY")]


def test_the_dockerfiles_are_clean_and_make_the_same_image():
    files = [DEPLOY / "Dockerfile", DEPLOY / "Dockerfile.scratch"]
    checked = run(BIN / "hadolint", *files)
    assert checked.returncode == 0, checked.stdout
    assert final_stage(files[0]) == final_stage(files[1]) != []
    version = re.search(r'channel = "(.*)"', (ROOT / "rust-toolchain.toml").read_text()).group(1)
    assert f"rust:{version}-" in files[0].read_text() and f"RUSTUP_TOOLCHAIN={version} " in files[0].read_text()


def test_the_yaml_is_tidy():
    files = [path for path in DEPLOY.rglob("*.yaml") if "templates" not in path.parts and "files" not in path.parts]
    files = [path for path in files if path.parent.name not in ("kubernetes", "prometheus")]
    checked = run(BIN / "yamllint", "--strict", "-c", ROOT / "tests/deploy/yamllint.yaml", *files)
    assert len(files) > 6 and checked.returncode == 0, checked.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this system has no systemd")
def test_the_unit_is_valid_and_confined(tmp_path):
    # The binary must be there for it.
    text = (DEPLOY / "systemd/llm-gateway.service").read_text().replace("/usr/local/bin/llm-gateway", GATEWAY)
    unit = tmp_path / "llm-gateway.service"
    unit.write_text(text)
    checked = run("systemd-analyze", "verify", "--man=no", unit)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr
    # 10 is open to everything.
    checked = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert checked.returncode == 0, checked.stdout


def interpolated(variables):
    """The compose file as Compose reads it."""
    def value(match):
        if match.group(0) == "$$":
            return "$"
        name, operator, argument = match.groups()
        found = variables.get(name) or (argument if operator == ":-" else None)
        if not found:
            raise KeyError(f"{name}: {argument}")
        return found
    return re.sub(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, (DEPLOY / "compose.yaml").read_text())


SECRETS = {name: "0123456789abcdef" for name in ("LLM_GATEWAY_ADMIN_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD")}


def test_compose_has_no_secret_of_its_own_and_says_how_to_make_them():
    for missing in SECRETS:
        with pytest.raises(KeyError, match=f"{missing}: run deploy/compose/up"):
            interpolated({name: value for name, value in SECRETS.items() if name != missing})


def test_compose_is_valid_on_the_loopback_and_mounts_what_there_is():
    text = interpolated(SECRETS)
    read = PyOptions(apply_merge=True).from_yaml(text)
    read.validate()
    services = yaml.safe_load(text)["services"]
    assert set(read.service_names()) == services.keys() == {"gateway", "postgres", "redis", "prometheus", "grafana", "stub", "load"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), f"{name}: {source}"
    linted = run(BIN / "compose-lint", DEPLOY / "compose.yaml")
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("file", ["compose/gateway.yaml", "image/gateway.yaml"])
def test_the_gateway_takes_the_configurations(file, tmp_path):
    said = check((DEPLOY / file).read_text(), tmp_path)
    assert said.returncode == 0 and "warning:" not in said.stdout, said.stdout + said.stderr


def test_the_secrets_are_made_once_and_are_nobody_elses(tmp_path):
    (tmp_path / "compose").mkdir()
    shutil.copy(DEPLOY / "compose/up", tmp_path / "compose/up")
    made = []
    for _ in range(2):
        done = run(tmp_path / "compose/up", "--env-only")
        assert done.returncode == 0, done.stderr
        made.append((tmp_path / ".env").read_text())
    assert made[0] == made[1] and stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600
    values = dict(line.split("=") for line in made[0].splitlines())
    assert values.keys() == SECRETS.keys() and len(set(values.values())) == 4 and min(map(len, values.values())) >= 32


def test_prometheus_takes_its_configuration(tmp_path):
    config = (DEPLOY / "compose/prometheus.yaml").read_text().replace("/etc/prometheus/rules.yaml", str(DEPLOY / "prometheus/rules.yaml"))
    (tmp_path / "prometheus.yaml").write_text(config)
    checked = run("promtool", "check", "config", tmp_path / "prometheus.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_load_of_the_demo_makes_everything_move(start, tmp_path):
    stub = start([GATEWAY, "stub"])
    address = eventually(lambda: re.search(r"http://(\S+)/v1", stub.said())).group(1)
    config = yaml.safe_load((DEPLOY / "compose/gateway.yaml").read_text())
    # One process needs neither; everything else is as it is shipped.
    del config["database"], config["redis"]
    api, ops = free_port(), free_port()
    config |= {"data_dir": str(tmp_path / "data"), "ops": {"listen": f"127.0.0.1:{ops}"}}
    config["server"]["listen"] = f"127.0.0.1:{api}"
    text = yaml.safe_dump(config).replace("stub:8000", address)
    (tmp_path / "gateway.yaml").write_text(text)
    gateway = start([GATEWAY, "serve", "--config", tmp_path / "gateway.yaml"], env={"LLM_GATEWAY_ADMIN_KEY": ADMIN_KEY})
    eventually(lambda: ask(f"http://127.0.0.1:{ops}/health/ready")[0] == 200)
    variables = {"GATEWAY_URL": f"http://127.0.0.1:{api}", "GATEWAY_OPS_URL": f"http://127.0.0.1:{ops}", "LLM_GATEWAY_ADMIN_KEY": ADMIN_KEY}
    load = run(BIN / "python", DEPLOY / "compose/load.py", env=variables | {"LOAD_SECONDS": "8", "LOAD_RATE": "60"})
    assert load.returncode == 0, load.stdout + load.stderr + gateway.said()
    outcomes = yaml.safe_load(load.stdout.splitlines()[-1])
    assert {"ok", "429"} <= outcomes.keys() and outcomes["ok"] > 50, outcomes
    metrics = ask(f"http://127.0.0.1:{ops}/metrics")[1]
    for series in (r'requests_total\{.*error="rate_limit', r'attempts_total\{.*outcome="failed"', r'cost_usd_total\{.*provider="west"',
                   r'time_to_first_token_seconds_count\{.*"east"'):
        assert re.search(rf"^llm_gateway_{series}.*[1-9]", metrics, re.MULTILINE), series
