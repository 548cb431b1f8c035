"""Puts the binary that `JWE_GATEWAY_BIN` names into the wheel, and gives the wheel the tag of its platform."""

import os
import re
import sysconfig
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BinaryHook(BuildHookInterface):
    def initialize(self, version, build_data):
        # An editable install takes the binary from the environment.
        if version == "editable":
            return
        binary = Path(os.environ["JWE_GATEWAY_BIN"]).resolve(strict=True)
        # pip puts it beside `python`, with the mode of a program.
        build_data["shared_scripts"][str(binary)] = binary.name
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(binary.read_bytes())}"


def platform_tag(binary):
    """The platforms that run `binary`: for Linux by the newest glibc symbol that it needs (PEP 600), if it needs any."""
    if binary[:4] != b"\x7fELF":
        return re.sub(r"[-.]", "_", sysconfig.get_platform())
    machine = {62: "x86_64", 183: "aarch64"}[int.from_bytes(binary[18:20], "little")]
    minor = max(map(int, re.findall(rb"GLIBC_2\.(\d+)", binary)), default=None)
    if minor is None:
        return f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    return f"manylinux_2_{minor}_{machine}"
