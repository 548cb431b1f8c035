"""What schemathesis has to know about the gateway and the sandbox: see .ci/schemathesis."""

import os
import urllib.request

import schemathesis

MANAGEMENT = os.environ["SANDBOX_MANAGEMENT"]

# The gateway's own refusals, which the provider's document cannot know.
PROBLEM = {
    "type": "object",
    "properties": {
        "status": {"type": "integer", "minimum": 400, "maximum": 499},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "required": ["status", "code", "request_id"],
}

# The operations after which the sandbox no longer has what its first requests had.
CHANGING = {"forceCredentialsFlow", "deleteCredentials", "redeemLinkCode", "discontinueLetter"}

# Members that name something in the sandbox, with values that exist there. Other values stay possible.
KNOWN = {
    "credentials_token": [f"sandbox-credentials-{number}" for number in range(1, 7)],
    "code": ["sandbox-link-code-1"],
    "link_token": ["sandbox-link-1"],
    "letter_id": ["5a4db0c5-0000-4000-8000-000000000001"],
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for item in raw_schema["paths"].values():
        for operation in item.values():
            # The gateway seals what schemathesis sends as JSON.
            operation.get("requestBody", {"content": {}})["content"].pop("application/jose", None)
            for name, response in operation["responses"].items():
                if name.startswith("4"):
                    operation["responses"][name] = with_problem(raw_schema, response)
    for name, schema in raw_schema["components"]["schemas"].items():
        if name.endswith("Request"):
            for member, values in KNOWN.items():
                if member in schema["properties"]:
                    kind = schema["properties"][member]
                    schema["properties"][member] = {"anyOf": [{"type": "string", "enum": values}, kind]}


def with_problem(raw_schema, response):
    if "$ref" in response:
        response = raw_schema["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    content = {**response["content"], "application/problem+json": {"schema": PROBLEM}}
    return {**response, "content": content}


@schemathesis.hook
def after_call(context, case, response):
    """Undoes what a call has changed, so that the next call does not depend on it."""
    changes = case.operation.definition.raw["operationId"] in CHANGING
    if changes and response.status_code == 200:
        urllib.request.urlopen(urllib.request.Request(f"{MANAGEMENT}/reset", method="POST")).close()
