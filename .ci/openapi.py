"""Validates OpenAPI documents, and the examples in them: see .ci/openapi."""

import json
import pathlib
import sys

import jsonschema
import referencing
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing.jsonschema import DRAFT202012

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def examples(node, pointer=""):
    """Each example in the document: where it is, where its schema is, and its value."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from examples(child, f"{pointer}/{index}")
        return
    if not isinstance(node, dict):
        return
    if isinstance(node.get("schema"), dict):
        # A media type, a parameter or a header.
        if "example" in node:
            yield f"{pointer}/example", f"{pointer}/schema", node["example"]
        for name, example in node.get("examples", {}).items():
            yield f"{pointer}/examples/{name}", f"{pointer}/schema", example["value"]
    elif isinstance(node.get("examples"), list):
        for index, value in enumerate(node["examples"]):
            yield f"{pointer}/examples/{index}", pointer, value
    for name, child in node.items():
        # What an example holds is data.
        if name not in ("example", "examples", "enum", "const", "default"):
            yield from examples(child, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")


def check(path):
    """Prints the faults of a document, and returns how many there are."""
    document = json.loads(path.read_text())
    faults = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    resource = referencing.Resource(contents=document, specification=DRAFT202012)
    registry = referencing.Registry().with_resource("urn:document", resource)
    count = 0
    # A document with faults can have schemas that nothing can be checked with.
    for where, schema, value in examples(document) if not faults else ():
        count += 1
        # The fragment of a URI: `{` of a path is written in percent-encoding.
        pointer = schema.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        validator = jsonschema.Draft202012Validator(
            {"$ref": f"urn:document#{pointer}"},
            registry=registry,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        faults += [f"{where}: {error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    operations = sum(name in METHODS for item in document["paths"].values() for name in item)
    for fault in faults:
        print(f"{path}: {fault}", file=sys.stderr)
    print(f"{path}: OpenAPI {document['openapi']}, {operations} operations, {count} examples, {len(faults)} faults")
    return len(faults)


sys.exit(1 if sum(check(pathlib.Path(name)) for name in sys.argv[1:]) else 0)
