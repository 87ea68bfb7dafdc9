"""The image: built without a daemon, and started as a cluster would: nobody's user, nothing writable but its volumes.

Needs root. What a container runtime does is done by hand here (`started`): it mounts /proc, the usual devices, the
volumes and the files for resolving names, makes the rest read-only, and gives up every right.
"""
import json
import os
import pathlib
import shutil
import socket
import struct
import threading

import pytest
import yaml

from conftest import ADMIN_KEY, HOME, ROOT, ask, eventually, free_port, run

BUILDAH = ["buildah", "--storage-driver", "vfs", "--root", str(HOME / "storage"), "--runroot", str(HOME / "storage-run")]
TAG = "localhost/llm-gateway:under-test"
BINARY = "/usr/bin/llm-gateway"
# Loopback, and nobody's: a resolver of this machine's own may have 127.0.0.53.
NAME_SERVER = "127.0.10.53"
# In a mount namespace of its own, and by `exec` alone, so that who ends it ends the gateway; $1 is the root, $2 what is mounted into it, the rest the command.
CONTAINED = f"""
set -e
root=$1 given=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/dev"
for name in null zero full random urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
for name in data config etc/hosts etc/resolv.conf; do mount --bind "$given/$name" "$root/$name"; done
mount -o remount,bind,ro "$root/config"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all chroot --userspec=65532:65532 "$root" {BINARY} "$@"
"""


@pytest.fixture(scope="module")
def image():
    """What the image says of itself, and its files."""
    shutil.rmtree(HOME / "storage", ignore_errors=True)
    options = {"IMAGE_TOOL": "buildah", "BUILDAH_OPTIONS": " ".join(BUILDAH[1:]), "CARGO_TARGET_DIR": str(HOME)}
    built = run("scripts/image", "--tag", TAG, "--binary", os.environ["STATIC_GATEWAY"], env=os.environ | options)
    assert built.returncode == 0, built.stdout + built.stderr
    made = run(*BUILDAH, "from", TAG)
    assert made.returncode == 0, made.stderr
    container = made.stdout.strip()
    root = pathlib.Path(run(*BUILDAH, "mount", container).stdout.strip())
    said = json.loads(run(*BUILDAH, "inspect", "--type", "image", TAG).stdout)
    yield said, root
    run(*BUILDAH, "umount", container)
    run(*BUILDAH, "rm", container)
    shutil.rmtree(HOME / "storage", ignore_errors=True)
    shutil.rmtree(HOME / "image-context", ignore_errors=True)


@pytest.fixture
def names():
    """A name server that knows one name, and the names that it was asked for."""
    server, asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
    server.bind((NAME_SERVER, 53))

    def answer():
        while True:
            try:
                query, client = server.recvfrom(512)
            except OSError:
                return
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += query[at] + 1
            name, kind = ".".join(labels), struct.unpack("!H", query[at + 1 : at + 3])[0]
            asked.append(name)
            known = name == "stub.dns.test"
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x0a\0\4" + bytes([127, 0, 0, 1]) if known and kind == 1 else b""
            head = query[:2] + (b"\x85\x80" if known else b"\x85\x83") + struct.pack("!HHHH", 1, bool(record), 0, 0)
            server.sendto(head + query[12 : at + 5] + record, client)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield asked
    server.close()


@pytest.fixture
def started(image, start, tmp_path):
    """Starts the binary of the image as a container runtime would."""
    _, root = image
    given = tmp_path / "given"
    for folder in ("data", "config", "etc"):
        (given / folder).mkdir(parents=True)
    os.chown(given / "data", 65532, 65532)
    # Whoever the process is, it must get there.
    for folder in [given, *given.parents]:
        if str(folder).startswith(str(tmp_path.parents[1])):
            folder.chmod(folder.stat().st_mode | 0o055)
    (given / "etc/hosts").write_text("127.0.0.1 localhost stub.hosts.test\n")
    (given / "etc/resolv.conf").write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    # The places that a runtime makes for what it mounts.
    for name in ("etc/hosts", "etc/resolv.conf"):
        (root / name).touch()
    for name in ("proc", "dev"):
        (root / name).mkdir(exist_ok=True)

    def starting(*command, variables=()):
        contained = ["unshare", "--mount", "sh", "-c", CONTAINED, "sh", root, given]
        return start([*contained, *command], env=dict(variables) | {"PATH": os.environ["PATH"]})

    return given, starting


def test_the_image_says_how_it_is_run_and_holds_nothing_else(image):
    said, root = image
    config = said["Docker"]["config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == [BINARY] and config["Cmd"] == ["serve"]
    assert config["ExposedPorts"].keys() == {"8080/tcp", "9090/tcp"} and config["Volumes"].keys() == {"/data"}
    assert "MIMALLOC_PURGE_DELAY=10" in config["Env"]
    assert config["Healthcheck"]["Test"] == ["CMD", BINARY, "health"]
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files - {"etc/hosts", "etc/resolv.conf"} == {
        "usr/bin/llm-gateway", "config/gateway.yaml", "etc/passwd", "etc/group", "etc/nsswitch.conf"}
    assert (root / "data").stat().st_uid == 65532 and (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert not any(path.stat().st_mode & 0o022 for path in root.rglob("*") if path.is_file())


def test_it_serves_as_nobody_and_finds_providers_by_name(started, names):
    given, starting = started
    api, ops, stub = free_port(), free_port(), free_port()
    starting("stub", "--listen", f"127.0.0.1:{stub}")
    providers = {by: {"wire": "openai", "base_url": f"http://stub.{by}.test:{stub}/v1", "auth": "none"} for by in ("hosts", "dns", "none")}
    config = yaml.safe_load((ROOT / "deploy/image/gateway.yaml").read_text())
    config |= {"server": {"listen": f"127.0.0.1:{api}"}, "ops": {"listen": f"127.0.0.1:{ops}"}, "providers": providers}
    config |= {"admin_key": "env:LLM_GATEWAY_ADMIN_KEY"}
    (given / "config/gateway.yaml").write_text(yaml.safe_dump(config))
    # As the image is run: without a word about the configuration, which is where the image looks for it.
    gateway = starting("serve", variables={"LLM_GATEWAY_ADMIN_KEY": ADMIN_KEY})

    def answers_or_ended():
        if gateway.poll() is not None:
            return 0, gateway.said()
        said = ask(f"http://127.0.0.1:{ops}/health/ready")
        return said if said[0] == 200 else None

    ready = eventually(answers_or_ended)
    assert ready[0] == 200 and ready[1]["checks"]["store"] == "ok", ready

    health = starting("health", "--ops", f"127.0.0.1:{ops}")
    assert health.wait(20) == 0 and "ready" in health.said()

    key = ask(f"http://127.0.0.1:{ops}/admin/v1/keys", ADMIN_KEY, {"name": "image"})[1]["key"]
    answers = {}
    for by in providers:
        body = {"model": f"{by}/echo", "messages": [{"role": "user", "content": "by name"}]}
        answers[by] = ask(f"http://127.0.0.1:{api}/v1/chat/completions", key, body)
    for by in ("hosts", "dns"):
        assert answers[by][0] == 200 and answers[by][1]["choices"][0]["message"]["content"] == "by name", answers[by]
    assert answers["none"][0] == 502 and answers["none"][1]["error"]["code"] == "upstream_unreachable"
    assert {"stub.dns.test", "stub.none.test"} <= set(names) and "stub.hosts.test" not in names

    # The process: not root, without rights, with a root that cannot be written.
    process = pathlib.Path(f"/proc/{gateway.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["65532"] * 4 and status["NoNewPrivs"] == "1"
    assert all(int(status[rights], 16) == 0 for rights in ("CapEff", "CapPrm", "CapInh", "CapAmb"))
    mounts = {fields[4]: fields[5].split(",") for fields in map(str.split, (process / "mountinfo").read_text().splitlines())}
    assert "ro" in mounts["/"] and "ro" in mounts["/config"] and "rw" in mounts["/data"], mounts
    written = {path.name for path in (given / "data").iterdir()}
    assert {"gateway.db", "journal"} <= written, written

    # And it ends as a cluster ends it.
    gateway.terminate()
    assert gateway.wait(20) == 0, gateway.said()
