"""Validates the examples of a configuration, and compares the schema with `jwe-gateway check`: see .ci/schema."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import jsonschema

BINARY = sys.argv[1]
SCHEMA = json.loads(pathlib.Path("docs/gateway.schema.json").read_text())
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# Values of one setting each. Both the schema and the reader accept the first list and refuse the second.
VALUES = {
    "limits.max_body": (["'1MiB'", "'64 KiB'", "1048576", "'7'"], ["'1MB'", "0", "'0MiB'", "-1", "1.5", "true", "'MiB'", "''"]),
    "limits.in_flight": (["1", "1000000"], ["0", "1000001", "'5'", "1.5"]),
    "deadlines.head": (["'30s'", "'1m30s'", "'500ms'", "'1h 30m'", "'1.5s'"], ["30", "'30'", "'0s'", "'-1s'", "'soon'", "''"]),
    "deadlines.drain": (["'0s'", "'24h'"], ["'x'", "0"]),
    "log.format": (["'auto'", "'json'", "'text'"], ["'JSON'", "true", "''"]),
    "log.access": (["'all'", "'errors'", "'off'"], ["'none'", "false"]),
    "log.access_sample": (["0.1", "1", "1.0"], ["0", "1.1", "'0.1'", "-0.5"]),
    "listen.address": (["'127.0.0.1:0'", "'[::1]:8080'", "'unix:/tmp/x.sock'"], ["'localhost:80'", "'127.0.0.1'", "8080", "'unix:'", "'unix:/tmp/'"]),
    "listen.reuse_port": (["true", "false"], ["'true'", "1"]),
    "listen.port": ([], ["8080"]),
    "admin.address": (["'127.0.0.1:9000'"], ["'nowhere'", "9000"]),
    "admin.hosts": (["[]", "['a.example']"], ["'a.example'", "['http://a']", "[1]", "['']"]),
    "upstream.name": (["'a-b_c.d:1'"], ["'a b'", "''", "1"]),
    "upstream.prefix": (["'/'", "'/a/b'"], ["'a'", "'/a/'", "''", "'/a b'", "'/a?b'", "'/*'"]),
    "upstream.strip_prefix": (["true"], ["'yes'"]),
    "upstream.encryption": (["'seal'", "'require-sealed'", "'off'"], ["'none'", "true"]),
    "upstream.connect": (["'5s'"], ["'0s'", "5"]),
    "upstream.key_refusals": (["[400, 422]", "[]"], ["[401]", "[500]", "400", "['400']"]),
    "upstream.ordinary_refusals": (
        ["[]", "[{ '/a' = 'x' }]", "[{ '/a~1b' = { except = ['x'] } }]"],
        ["[{}]", "[{ a = 'x' }]", "[{ '/a' = 1 }]", "[{ '/a' = { only = ['x'] } }]", "[{ '/a~2' = 'x' }]", "{}"],
    ),
    "upstream.extra_header_members": (["['x']", "[]"], ["'x'", "['']"]),
    "upstream.validate": (["'off'", "'report'", "'enforce'"], ["'on'", "true"]),
    "upstream.openapi": (["'flanks'", "'flinks'"], ["''", "1"]),
    "upstream.validation_errors": (["'problem'", "'provider'"], ["'json'"]),
    "upstream.identifiers_in_query": (["'allow'", "'refuse'"], ["'deny'", "false"]),
    "upstream.proxy": (["'none'", "'http://127.0.0.1:1'"], ["1"]),
    "upstream.keys.url": (["'http://127.0.0.1:1/keys?a=b'"], ["'keys'", "'ftp://a/b'", "'http://a/b#c'", "'http://a b/'", "1"]),
    "upstream.keys.pin": (["['a']"], ["'a'"]),
    "upstream.keys.max_stale": (["'0s'"], ["'1y'", "0"]),
    "upstream.keys.colour": ([], ["'red'"]),
    "upstream.credentials.kind": (["'none'"], ["'token'", "1"]),
    "caller.allow": (["['GET /a', '* /b/**']", "[]"], ["'GET /a'", "['GET']", "['GET a']", "['get /a']", "['GET /a?b']"]),
    "caller.requests_per_second": (["1"], ["0", "'1'", "0.5"]),
    "caller.name": (["'a'"], ["'a b'", "''"]),
}


def with_value(setting, value, digest):
    """Returns a configuration with one setting."""
    section, _, key = setting.rpartition(".")
    lines = {"root": [], "caller": [], "upstream": ["credentials.kind = 'none'", "url = 'http://127.0.0.1:1'"]}
    if section == "caller":
        if key != "name":
            lines["caller"].append("name = 'a'")
        lines["caller"].append(f"key_sha256_file = '{digest}'")
        lines["caller"].append(f"{key} = {value}")
    elif section.startswith("upstream"):
        inner = setting.removeprefix("upstream.")
        lines["upstream"] = [line for line in lines["upstream"] if not line.startswith(f"{inner} =")]
        lines["upstream"].append(f"{inner} = {value}")
    else:
        lines["root"].append(f"{setting} = {value}")
    caller = ["[[caller]]", *lines["caller"]] if lines["caller"] else []
    return "\n".join([*lines["root"], *caller, "[[upstream]]", *lines["upstream"]]) + "\n"


def is_accepted(text, directory):
    """Whether `check` accepts the configuration."""
    file = pathlib.Path(directory, "gateway.toml")
    file.write_text(text)
    process = subprocess.run([BINARY, "check", "--config", file], capture_output=True, text=True, env={})
    assert process.returncode in (0, 78), process.stderr
    return process.returncode == 0


def compare_with_reader():
    compared = 0
    with tempfile.TemporaryDirectory() as directory:
        digest = pathlib.Path(directory, "digest")
        digest.write_text("0" * 64)
        for setting, (good, bad) in VALUES.items():
            for value, expected in [(value, True) for value in good] + [(value, False) for value in bad]:
                text = with_value(setting, value, digest)
                by_schema, by_reader = VALIDATOR.is_valid(tomllib.loads(text)), is_accepted(text, directory)
                if (by_schema, by_reader) != (expected, expected):
                    sys.exit(f"{setting} = {value}: expected {expected}, schema {by_schema}, check {by_reader}\n{text}")
                compared += 1
    return compared


def uncommented(text, mark):
    """Returns the text with the settings that are commented out by `mark`."""
    return re.sub(rf"^{mark}(?=[a-z\[])", "", text, flags=re.MULTILINE)


def examples():
    """Returns each example with its name."""
    for file in sorted(pathlib.Path("deploy").rglob("*.toml")):
        yield str(file), file.read_text()
    everything = pathlib.Path("deploy/gateway.toml").read_text()
    yield "deploy/gateway.toml, defaults", uncommented(everything, "#")
    # The second kind of credentials replaces the first; TOML allows each key once.
    first = re.sub(r"(?s)\nclient_id = .*", "\n", uncommented(everything, "#!"))
    second = uncommented(everything, "#!").partition("# The same table")[2]
    yield "deploy/gateway.toml, examples", first + "\n#" + second
    for file in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md")), *sorted(pathlib.Path("deploy").rglob("*.md"))]:
        for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL), 1):
            # A block of a Cargo.toml is no configuration.
            if not block.startswith("[dev-dependencies]"):
                yield f"{file}, block {number}", block


def forms(document):
    """Returns the document, or if it has the keys of one table only, the documents with it in each table it may mean."""
    if document.keys() & SCHEMA["properties"].keys():
        return [document]
    return [{"caller": [{"name": "a", **document}]}, {"upstream": [document]}]


def main():
    validated = 0
    for name, text in examples():
        errors = [list(VALIDATOR.iter_errors(form)) for form in forms(tomllib.loads(text))]
        if all(errors):
            sys.exit("\n".join(f"{name}: {error.json_path}: {error.message}" for error in errors[0]))
        validated += 1
    if validated < 12:
        sys.exit(f"only {validated} examples were found")
    compared = compare_with_reader()
    print(f"{validated} examples are valid; schema and reader agree on {compared} values")


main()
