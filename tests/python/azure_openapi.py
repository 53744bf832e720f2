"""Writes Microsoft's contract, as `azure_contract.py` has it, as one OpenAPI document of what a deployment calls.

usage: azure_openapi.py CONTRACT > OPENAPI

A call of another operation has no path there and is refused by whoever reads the document: add its name here. Blobs are
left out: they are XML, and told apart by query and headers, which OpenAPI cannot. So is what an answer points at (how far
an operation is): no document has those addresses.
"""

import json
import re
import sys
from pathlib import Path

# group -> operations.
CALLED = {
    "Subscriptions": "Get",
    "ResourceGroups": "CreateOrUpdate Get Update Delete List",
    "Resources": "ListByResourceGroup List",
    "VirtualNetworks": "CreateOrUpdate Get UpdateTags Delete",
    "NetworkSecurityGroups": "CreateOrUpdate Get UpdateTags Delete",
    "PublicIPAddresses": "CreateOrUpdate Get UpdateTags Delete",
    "NatGateways": "CreateOrUpdate Get UpdateTags Delete",
    "NetworkInterfaces": "Get Delete",
    "UserAssignedIdentities": "CreateOrUpdate Get Update Delete",
    "StorageAccounts": "Create GetProperties Update Delete",
    "BlobServices": "SetServiceProperties GetServiceProperties",
    "BlobContainers": "Create Get Update Delete",
    "ManagementPolicies": "CreateOrUpdate Get",
    "RoleAssignments": "Create Get Delete ListForSubscription ListForScope",
    "ManagementLocks": "CreateOrUpdateByScope GetByScope DeleteByScope ListByScope",
    "VirtualMachines": "CreateOrUpdate Get Update Delete Start RetrieveBootDiagnosticsData",
    "Disks": "Get Update Delete",
    "ResourceSkus": "List",
    "Usage": "List",
    "VirtualMachineImages": "List Get",
}
# A scope is a whole id, and a gap of OpenAPI takes no slash: the shapes of ids that something may be assigned to.
SUBSCRIPTION = "/subscriptions/{subscriptionId}"
GROUP = SUBSCRIPTION + "/resourceGroups/{resourceGroupName}"
THING = GROUP + "/providers/{namespace}/{kind}/{name}"
PART = THING + "/{partKind}/{partName}"
INNER_PART = PART + "/{innerKind}/{innerName}"
SCOPES = [SUBSCRIPTION, GROUP, THING, PART, INNER_PART]
# Content that comes beside these statuses is the thing or nothing, which OpenAPI cannot say.
BARE = {202, 204}
# https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors
TEXT = {"type": "string", "minLength": 1}
DETAIL = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": TEXT, "message": {"type": "string"}},
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "additionalProperties": False,
            "properties": {
                "code": TEXT,
                "message": TEXT,
                "target": {"type": ["string", "null"]},
                "details": {"type": ["array", "null"], "items": DETAIL},
                "innererror": {},
                "additionalInfo": {"type": ["array", "null"], "items": {"type": "object"}},
            },
        }
    },
}


def content(schema):
    return {"application/json": {"schema": schema}}


class Schemas:
    """Definitions as OpenAPI has them, and none that leads back to itself.

    Prism writes out what a schema refers to, loses its way in a circle, cannot compile what it has written and then holds
    everything for right. So a circle is cut where it turns back, which is elsewhere for each that it is entered by.
    """

    REFERENCE = re.compile(r"#/\$defs/([\w.]+)")

    def __init__(self, definitions):
        self.definitions, self.written = definitions, {"error": ERROR}
        self.leads = {name: set(self.REFERENCE.findall(json.dumps(it))) for name, it in definitions.items()}
        self.reach = {name: self.reached(name) for name in definitions}
        self.circular = {name for name, reach in self.reach.items() if name in reach}

    def reached(self, name):
        found, wanted = set(), [name]
        while wanted:
            new = self.leads[wanted.pop()] - found
            found |= new
            wanted += new
        return found

    def entered(self, schema):
        """A schema of an operation's own."""
        return self.moved(schema, self.enter)

    def enter(self, name):
        if name in self.circular or self.reach[name] & self.circular:
            return self.straight(name, name, self.depths(name))
        return self.kept(name, name, self.enter)

    def depths(self, root):
        depths, row = {root: 0}, [root]
        while row:
            row = [name for name in sorted(set().union(*(self.leads[it] for it in row))) if name not in depths]
            depths |= {name: len(depths) for name in row}
        return depths

    def straight(self, name, root, depths):
        def follow(target):
            turns_back = name in self.reach[target] | {target} and depths[target] <= depths[name]
            return {"type": "object"} if turns_back else self.straight(target, root, depths)

        return self.kept(f"{name}.of.{root}", name, follow)

    def kept(self, key, name, follow):
        if key not in self.written:
            self.written[key] = {}
            self.written[key] = self.moved(self.definitions[name], follow)
        return {"$ref": f"#/components/schemas/{key}"}

    def moved(self, value, follow):
        if isinstance(value, list):
            return [self.moved(inner, follow) for inner in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("$ref"), str):
            return follow(self.REFERENCE.match(value["$ref"])[1])
        return {name: self.moved(inner, follow) for name, inner in value.items()}


def paths_of(operation):
    # Microsoft writes one word two ways and takes both; what reads OpenAPI tells capitals apart.
    path = operation["path"].rstrip("/").replace("/resourcegroups/", "/resourceGroups/")
    if path.startswith("/{scope}"):
        return [scope + path.removeprefix("/{scope}") for scope in SCOPES]
    return [path]


def parameters(operation, path):
    for gap in re.findall(r"\{(\w+)\}", path):
        schema = operation["parameters"].get(gap, TEXT)
        yield {"name": gap, "in": "path", "required": True, "schema": schema}
    for place, rules in ("query", operation["query"]), ("header", operation["headers"]):
        for name, rule in rules.items():
            # OpenAPI has these two elsewhere.
            if name not in ("accept", "content-type"):
                yield {"name": name, "in": place, **rule}


def answers(operation, schemas):
    is_bare = operation["method"] == "HEAD"
    for status in operation["statuses"]:
        has_content = operation["answer"] and not is_bare and status not in BARE
        yield str(status), {"description": "done"} | (
            {"content": content(schemas.entered(operation["answer"]))} if has_content else {}
        )
    refused = {} if is_bare else {"content": content({"$ref": "#/components/schemas/error"})}
    yield "default", {"description": "refused"} | refused


def written(operation, path, schemas):
    made = {
        "operationId": operation["name"],
        "parameters": list(parameters(operation, path)),
        "responses": dict(answers(operation, schemas)),
    }
    if operation["body"]:
        is_needed = operation["method"] != "POST"
        made["requestBody"] = {"required": is_needed, "content": content(schemas.entered(operation["body"]))}
    return made


def main():
    contract = json.loads(Path(sys.argv[1]).read_text())
    paths, schemas = {}, Schemas(contract["$defs"])
    known = {operation["name"]: operation for operation in contract["operations"]}
    for group, names in CALLED.items():
        for operation in (known[f"{group}_{name}"] for name in names.split()):
            for path in paths_of(operation):
                paths.setdefault(path, {}).setdefault(operation["method"].lower(), written(operation, path, schemas))
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Azure Resource Manager", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas.written},
    }
    json.dump(document, sys.stdout)


main()
