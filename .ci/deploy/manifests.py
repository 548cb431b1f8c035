#!/usr/bin/env python3
"""The Kubernetes manifests of deploy/, rendered and compared with what they promise: BINARY

Each overlay is rendered with `kubectl kustomize` and validated with `kubernetes-validate --strict`. Then this script
checks what no schema knows: selectors find pods, containers are hardened, memory and grace periods fit the
configuration, and `jwe-gateway check` accepts the configuration with the files that the volumes provide.
"""

import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "deploy" / "kubernetes"
# The first version in which sidecars need no feature gate, and the newest one that is known.
VERSIONS = ["1.29", "1.37"]
OVERLAYS = [
    "kubernetes/base", "kubernetes/egress", "kubernetes/example", "kubernetes/harness",
    "recipes/external-secrets", "recipes/secrets-store-csi", "recipes/vault-injector",
]  # fmt: skip
# Their schemas are not part of Kubernetes.
CUSTOM = {"external-secrets.io", "secrets-store.csi.x-k8s.io"}
HARDENED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
PER_CONNECTION, OWN = 256 << 10, 64 << 20

findings = []


def main(binary):
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True, mode=0o700)
    rendered = {path.split("/")[1]: render(path) for path in OVERLAYS}
    for name, objects in rendered.items():
        check_selectors(name, objects)
        for pod in pods(objects):
            check_pod(name, pod, objects, binary)
    check_sidecars_reach_the_egress(rendered)
    for finding in findings:
        print(finding)
    print(f"{len(OVERLAYS)} Kustomize directories: {len(findings)} findings")
    return 1 if findings else 0


def render(overlay):
    name = overlay.split("/")[1]
    objects = list(yaml.safe_load_all(run("kubectl", "kustomize", ROOT / "deploy" / overlay)))
    path = WORK / f"{name}.yaml"
    path.write_text(yaml.safe_dump_all(one for one in objects if one["apiVersion"].split("/")[0] not in CUSTOM))
    for version in VERSIONS:
        validated = subprocess.run(
            ["kubernetes-validate", "--strict", "--quiet", "-k", version, path], capture_output=True, text=True
        )  # fmt: skip
        if validated.returncode or validated.stdout or validated.stderr:
            findings.append(f"{name}, Kubernetes {version}: {validated.stdout}{validated.stderr}")
    return objects


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def pods(objects):
    return [one["spec"]["template"] for one in objects if one["kind"] == "Deployment"]


def check_selectors(name, objects):
    labels = [pod["metadata"]["labels"] for pod in pods(objects)]
    for one in objects:
        spec = one.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if selector is None and one["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget"):
            findings.append(f"{name}: {one['kind']} {one['metadata']['name']} has no selector")
        elif selector and not any(selects(selector, label) for label in labels):
            findings.append(f"{name}: {one['kind']} {one['metadata']['name']} selects no pod")
        if one["kind"] == "Service":
            ports = {port["name"] for pod in pods(objects) for c in containers(pod) for port in c.get("ports", [])}
            for port in spec["ports"]:
                if port["targetPort"] not in ports:
                    findings.append(f"{name}: Service {one['metadata']['name']}: no port {port['targetPort']}")


def selects(selector, labels):
    return selector.get("matchLabels", selector).items() <= labels.items()


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def check_pod(name, pod, objects, binary):
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        findings.append(f"{name}: the pod has a service account token")
    for container in containers(pod):
        where = f"{name}: container {container['name']}"
        security = spec.get("securityContext", {}) | container["securityContext"]
        if not HARDENED.items() <= security.items() or not security.get("runAsNonRoot"):
            findings.append(f"{where} is not hardened: {security}")
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            findings.append(f"{where} has no seccomp profile")
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            findings.append(f"{where}: requests of CPU and memory and a limit of memory are needed")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port and port not in {one["name"] for one in container["ports"]}:
                findings.append(f"{where}: {probe} has no port {port}")
        if container["image"].startswith("jwe-gateway"):
            if container["image"] != f"jwe-gateway:{crate_version()}":
                findings.append(f"{where}: the image {container['image']} is not version {crate_version()}")
            role = {"run": check_gateway, "sandbox": run_sandbox}[container["args"][0]]
            role(where, container, pod, objects, binary)


def crate_version():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def check_gateway(where, container, pod, objects, binary):
    files = Files(where, container, pod, objects)
    path = container["args"][container["args"].index("--config") + 1]
    configuration = files.local(path)
    text = configuration.read_text()
    for mentioned in sorted(set(re.findall(r'"(/[^"]+)"', re.sub(r"(?m)^\s*#.*", "", text)))):
        text = text.replace(f'"{mentioned}"', f'"{files.provide(mentioned)}"')
    configuration.write_text(text)
    checked = subprocess.run(
        [binary, "check", "--config", configuration], capture_output=True, text=True, env={}, cwd=WORK
    )  # fmt: skip
    # The harness serves every pod of its namespace on purpose.
    complaints = [line for line in checked.stderr.splitlines() if "(anonymous = true)" not in line]
    if checked.returncode or complaints:
        findings.append(f"{where}: check: exit code {checked.returncode} {complaints}")
        return
    settings = dict(line.split("  (")[0].split(" = ", 1) for line in checked.stdout.splitlines() if " = " in line)
    check_sizes(where, container, pod["spec"], {name: value.strip('"') for name, value in settings.items()})


class Files:
    """The files of a container's volumes, below a directory of their own."""

    def __init__(self, where, container, pod, objects):
        self.where = where
        self.root = WORK / re.sub(r"\W+", "-", where)
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        self.mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        annotations = pod["metadata"].get("annotations", {})
        if path := annotations.get("vault.hashicorp.com/secret-volume-path"):
            # Vault's injector mounts this volume. It writes the files that an annotation names.
            prefix = "vault.hashicorp.com/agent-inject-secret-"
            self.mounts[path] = {"vault": [name.removeprefix(prefix) for name in annotations if name.startswith(prefix)]}
        if any("subPath" in mount for mount in container["volumeMounts"]):
            findings.append(f"{where}: a file that is mounted with subPath does not change when its Secret changes")
        self.offered = dict(offered_secrets(objects))
        maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
        for path, volume in self.mounts.items():
            self.local(path).mkdir(parents=True, mode=0o700)
            for key, text in maps.get(volume.get("configMap", {}).get("name"), {}).items():
                (self.local(path) / key).write_text(text)

    def local(self, path):
        return self.root / path.lstrip("/")

    def provide(self, path):
        """The local path of a file that the configuration mentions. A Secret's file is made up."""
        mount = next((mount for mount in self.mounts if path.startswith(mount + "/")), None)
        local = self.local(path)
        volume = self.mounts.get(mount, {})
        if mount is None:
            findings.append(f"{self.where}: {path} is in no volume")
        elif "csi" in volume or "vault" in volume:
            name = volume.get("csi", {}).get("volumeAttributes", {}).get("secretProviderClass")
            if local.name not in volume.get("vault", self.offered.get(name, [])):
                findings.append(f"{self.where}: the vault provides no {local.name}")
            make_secret(local)
        elif secret := volume.get("secret"):
            document = (ROOT / "docs" / "deployment.md").read_text()
            if f"`{secret['secretName']}`" not in document or f"`{local.name}`" not in document:
                findings.append(f"{self.where}: docs/deployment.md does not name {secret['secretName']}, {local.name}")
            if local.name not in self.offered.get(secret["secretName"], [local.name]):
                findings.append(f"{self.where}: the ExternalSecret provides no {local.name}")
            make_secret(local)
        elif "emptyDir" in volume and not local.exists() and local.name == "client_secret":
            # The sandbox of the same pod writes it.
            shutil.copy(WORK / "sandbox" / local.name, local)
        return local


def offered_secrets(objects):
    """The files of each Secret or volume that a custom resource makes."""
    for one in objects:
        if one["kind"] == "SecretProviderClass":
            yield one["metadata"]["name"], [file["objectName"] for file in yaml.safe_load(one["spec"]["parameters"]["objects"])]
        elif one["kind"] == "ExternalSecret":
            yield one["spec"]["target"]["name"], [entry["secretKey"] for entry in one["spec"]["data"]]


def make_secret(path):
    if path.suffix in (".crt", ".key"):
        certificate, key = path.with_suffix(".crt"), path.with_suffix(".key")
        if not key.exists():
            run(
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "30", "-subj", "/CN=test", "-addext", "subjectAltName=DNS:test",
                "-keyout", key, "-out", certificate, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    else:
        path.write_text(secrets.token_hex(32) + "\n")
        path.chmod(0o600)


def check_sizes(where, container, spec, settings):
    needed = size(settings["limits.buffered"]) + int(settings["listen.max_connections"]) * PER_CONNECTION + OWN
    limit = size(container["resources"]["limits"]["memory"])
    if limit < needed:
        findings.append(f"{where}: a memory limit of {limit >> 20} MiB is less than {needed >> 20} MiB")
    stop = seconds(settings["deadlines.drain_delay"]) + seconds(settings["deadlines.drain"]) + 2
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if grace < stop:
        findings.append(f"{where}: terminationGracePeriodSeconds {grace} is less than {stop}")
    admin = next((port["containerPort"] for port in container["ports"] if "admin" in port["name"]), None)
    if settings["admin.address"] != f"0.0.0.0:{admin}":
        findings.append(f"{where}: probes reach port {admin}, the admin listener is {settings['admin.address']}")


def size(text):
    number, unit = re.fullmatch(r"(\d+)([KMG]i)B?", text).groups()
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]


def seconds(text):
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def run_sandbox(where, container, _pod, _objects, binary):
    """Starts the sandbox with the arguments of the container, on free ports, until it has written its secrets."""
    local = {"--listen": "127.0.0.1:0", "--management": "127.0.0.1:0", "--secrets": str(WORK / "sandbox")}
    given = [argument.partition("=") for argument in container["args"][1:]]
    options = {name: value for name, _, value in given}
    arguments = [f"{name}={local[name]}" if name in local else name + equals + value for name, equals, value in given]
    with subprocess.Popen([binary, "sandbox", *arguments], stdout=subprocess.PIPE, text=True, env={}) as sandbox:
        printed = []
        for line in sandbox.stdout:
            printed.append(line)
            if line.startswith("  secrets "):
                break
        else:
            findings.append(f"{where}: the sandbox did not start: {''.join(printed)}")
        sandbox.terminate()
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    if options["--secrets"] not in mounts:
        findings.append(f"{where}: {options['--secrets']} is no volume")


def check_sidecars_reach_the_egress(rendered):
    policy = next(one for one in rendered["egress"] if one["kind"] == "NetworkPolicy")
    (sidecar,) = pods(rendered["example"])
    sources = [source.get("podSelector") for rule in policy["spec"]["ingress"] for source in rule["from"]]
    if not any(source and selects(source, sidecar["metadata"]["labels"]) for source in sources):
        findings.append("the network policy of the egress excludes the sidecar of the example")
    service = next(one["metadata"] for one in rendered["egress"] if one["kind"] == "Service")
    configuration = next(one["data"]["gateway.toml"] for one in rendered["example"] if one["kind"] == "ConfigMap")
    if f'"https://{service["name"]}.{service["namespace"]}.svc"' not in configuration:
        findings.append("the sidecar's upstream is not the Service of the egress")


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
