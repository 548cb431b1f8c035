#!/usr/bin/env python3
"""The commands of deploy/compose.yaml are accepted: BINARY

There is no Docker where this runs. So each command of the binary runs here, with the mounted files at other paths: the
sandbox until it has written its secrets, the gateways as `check`, the health checks with `--help`.
"""

import pathlib
import shutil
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "deploy" / "compose"

findings = []


def main(binary):
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    services = {name: service for name, service in services.items() if service["image"].startswith("jwe-gateway")}
    for name, service in services.items():
        check_health(name, service, binary)
        for key, value in {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}.items():
            if service.get(key) != value:
                findings.append(f"{name}: {key} is not {value}")
    start_sandbox(services.pop("sandbox"), binary)
    for name, service in services.items():
        check_gateway(name, service, binary)
    for finding in findings:
        print(finding)
    print(f"compose.yaml: {len(findings)} findings")
    return 1 if findings else 0


def check_health(name, service, binary):
    kind, program, command, *options = service["healthcheck"]["test"]
    known = subprocess.run([binary, command, *options, "--help"], capture_output=True, text=True, env={})
    if kind != "CMD" or program != "/jwe-gateway" or known.returncode:
        findings.append(f"{name}: health check: {known.stderr}")


def start_sandbox(service, binary):
    command = [local(service, argument) for argument in service["command"]]
    command = [argument.replace("0.0.0.0:8090", "127.0.0.1:0").replace("0.0.0.0:8091", "127.0.0.1:0") for argument in command]
    with subprocess.Popen([binary, *command], stdout=subprocess.PIPE, text=True, env={}) as sandbox:
        if not any(line.startswith("  secrets ") for line in sandbox.stdout):
            findings.append("sandbox: it does not start")
        sandbox.terminate()


def check_gateway(name, service, binary):
    run, *options = [local(service, argument) for argument in service["command"]]
    directory = local(service, service["working_dir"] + "/secrets").removesuffix("/secrets")
    checked = subprocess.run([binary, "check", *options], capture_output=True, text=True, env={}, cwd=directory)
    if run != "run" or checked.returncode:
        findings.append(f"{name}: check: exit code {checked.returncode} {checked.stderr}")


def local(service, argument):
    """The argument, with the local path of a mounted file or volume."""
    for volume in service["volumes"]:
        source, target, *_ = volume.split(":")
        here = ROOT / "deploy" / source if source.startswith("./") else WORK / source
        argument = argument.replace(target, str(here))
    return argument


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
