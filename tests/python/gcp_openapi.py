"""Writes Google's discovery documents as one OpenAPI document, of the methods that a deployment calls.

usage: gcp_openapi.py FOLDER > OPENAPI

A call of another method has no path there and is refused by whoever reads the document: add its name here. Content that
goes up or down (`/upload/…`, `/download/…`, `alt=media`) is no JSON, and no part of it.
"""

import json
import re
import sys
from pathlib import Path

# document -> resource -> methods.
CALLED = {
    "compute.v1": {
        "projects": "get",
        "regions": "get",
        "zones": "list",
        "images": "get getFromFamily",
        "machineTypes": "aggregatedList",
        "networks": "insert get list delete removePeering",
        "subnetworks": "insert get aggregatedList delete setPrivateIpGoogleAccess",
        "routers": "insert get aggregatedList patch delete",
        "firewalls": "insert get list update delete",
        "instances": "insert get aggregatedList delete setLabels setDeletionProtection setMetadata start resume "
        "addAccessConfig deleteAccessConfig getSerialPortOutput",
        "disks": "get aggregatedList resize update delete",
        "globalOperations": "get",
        "regionOperations": "get",
        "zoneOperations": "get",
    },
    "storage.v1": {
        "buckets": "insert get list patch delete getIamPolicy setIamPolicy",
        "objects": "get list patch delete",
    },
    "iam.v1": {
        "projects.serviceAccounts": "create get list delete enable",
        "projects.serviceAccounts.keys": "list delete",
    },
}
# Numbers of 64 bits are texts.
PATTERNS = {
    "int64": "-?[0-9]{1,19}",
    "uint64": "[0-9]{1,20}",
    "byte": "[-A-Za-z0-9+/_]*={0,2}",
    "google-duration": r"-?[0-9]+(\.[0-9]{1,9})?s",
}
TIMES = {"date-time": "date-time", "google-datetime": "date-time", "date": "date"}
INTEGERS = {"uint32": (0, 2**32 - 1)}
OUTPUT_ONLY = re.compile(r"\s*\[?output[ -]only\b", re.IGNORECASE)
# https://cloud.google.com/apis/docs/system-parameters
SYSTEM = {"$alt": {"enum": ["json"]}, "$apiVersion": {"pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}}
# https://cloud.google.com/apis/design/errors, and the older list `errors` beside it.
TEXT = {"type": "string"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "integer", "minimum": 400, "maximum": 599},
                "message": TEXT,
                "status": {"type": "string", "pattern": "^[A-Z_]+$"},
                "errors": {
                    "type": "array",
                    "items": {"type": "object", "required": ["reason", "message"], "additionalProperties": TEXT},
                },
                "details": {"type": "array", "items": {"type": "object", "required": ["@type"]}},
            },
        }
    },
}

# Google's own clients send it with methods that take no body.
NOTHING = {"type": "object", "additionalProperties": False}


def whole(expression):
    return f"^(?:{expression})$"


def text(described):
    made, form = {"type": "string"}, described.get("format")
    pattern = described.get("pattern") or PATTERNS.get(form)
    if pattern:
        made["pattern"] = whole(pattern)
    elif form in TIMES:
        made["format"] = TIMES[form]
    if "enum" in described:
        made["enum"] = described["enum"]
    return made


def integer(described):
    least, most = INTEGERS.get(described.get("format"), (-(2**31), 2**31 - 1))
    return {"type": "integer", "minimum": least, "maximum": most}


class Schemas:
    """Of one document; written when something leads to them."""

    def __init__(self, name, described, written):
        self.name, self.described, self.written = name, described, written

    def reference(self, schema, way):
        key = f"{self.name}.{schema}.{way}"
        if key not in self.written:
            self.written[key] = None
            self.written[key] = self.schema(self.described[schema], way)
        return {"$ref": f"#/components/schemas/{key}"}

    def schema(self, described, way):
        if "$ref" in described:
            made = self.reference(described["$ref"], way)
            return {"anyOf": [made, {"type": "null"}]} if way == "patch" else made
        made = self.plain(described, way)
        # A patch takes a field away by null.
        if way == "patch" and "type" in made:
            made["type"] = [made["type"], "null"]
            if "enum" in made:
                made["enum"] = [*made["enum"], None]
        return made

    def plain(self, described, way):
        kind = described.get("type", "any")
        if kind == "object":
            return self.object(described, way)
        if kind == "array":
            return {"type": "array", "items": self.schema(described["items"], way)}
        if kind == "any":
            return {}
        return {"string": text, "integer": integer}.get(kind, lambda _: {"type": kind})(described)

    def object(self, described, way):
        named = described.get("properties", {}).items()
        if way != "answer":
            named = [(name, inner) for name, inner in named if not is_output(inner)]
        others = described.get("additionalProperties")
        return {
            "type": "object",
            "properties": {name: self.schema(inner, way) for name, inner in named},
            "additionalProperties": self.schema(others, way) if others else False,
        }


def is_output(described):
    """What only Google says: a request that has it says something that it does not mean."""
    return described.get("readOnly") or bool(OUTPUT_ONLY.match(described.get("description", "")))


def parameter(name, described):
    kind = described.get("type", "string")
    single = {"boolean": lambda _: {"type": "boolean"}, "integer": integer}.get(kind, text)(described)
    many = {"type": "array", "items": single}
    return {
        "name": name,
        "in": described.get("location", "query"),
        "required": described.get("required", False),
        "schema": many if described.get("repeated") else single,
    }


def parameters(document, method, path):
    """`flatPath` has gaps of its own in the place of one that takes slashes."""
    own = method.get("parameters", {})
    gaps = re.findall(r"\{(\w+)\}", path)
    for gap in gaps:
        yield parameter(gap, own.get(gap, {}) | {"location": "path", "required": True})
    for name, described in {**document["parameters"], **own}.items():
        if described["location"] == "query":
            yield parameter(name, described)
    for name, schema in SYSTEM.items():
        yield {"name": name, "in": "query", "schema": {"type": "string", **schema}}


def content(schema):
    return {"application/json": {"schema": schema}}


def operation(document, method, path, schemas):
    answer = method.get("response")
    good = {"description": "done"} | ({"content": content(schemas.schema(answer, "answer"))} if answer else {})
    made = {
        "operationId": method["id"],
        "parameters": list(parameters(document, method, path)),
        "responses": {
            "200" if answer else "204": good,
            "default": {"description": "refused", "content": content({"$ref": "#/components/schemas/error"})},
        },
    }
    if "request" in method:
        way = "patch" if method["httpMethod"] == "PATCH" else "ask"
        made["requestBody"] = {"required": True, "content": content(schemas.reference(method["request"]["$ref"], way))}
    elif method["httpMethod"] == "POST":
        made["requestBody"] = {"content": content(NOTHING)}
    return made


def methods(document, called):
    for resource, names in called.items():
        place = document
        for part in resource.split("."):
            place = place["resources"][part]
        for name in names.split():
            yield place["methods"][name]


def main():
    paths, written = {}, {"error": ERROR}
    for name, called in CALLED.items():
        document = json.loads(Path(sys.argv[1], f"{name}.json").read_text())
        schemas = Schemas(name, document["schemas"], written)
        for method in methods(document, called):
            path = f"/{document['servicePath']}{method.get('flatPath', method['path'])}"
            paths.setdefault(path, {})[method["httpMethod"].lower()] = operation(document, method, path, schemas)
    json.dump(
        {
            "openapi": "3.1.0",
            "info": {"title": "Google Cloud", "version": "1"},
            "paths": paths,
            "components": {"schemas": written},
        },
        sys.stdout,
    )


main()
