"""Writes Microsoft's contract of the services that the tests call, as its own Python clients carry it, as one JSON object.

usage: azure_contract.py > CONTRACT

`operations`: name, method, path, API version, what may and must stand in query and headers, and by JSON Schema the body and
the answer to each status. `$defs`: the models, each twice: `ask.…` has no read-only property, `answer.…` has all. Unknown
properties are refused in both. Operations are read from the clients' sources, models from their classes.
"""

import ast
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

# package -> its groups of operations that belong to a deployment.
PACKAGES = {
    "azure.mgmt.compute": {
        "VirtualMachines", "Disks", "ResourceSkus", "Usage", "VirtualMachineImages", "Images", "Galleries", "GalleryImages",
        "GalleryImageVersions",
    },
    "azure.mgmt.network": {
        "VirtualNetworks", "Subnets", "NetworkSecurityGroups", "SecurityRules", "PublicIPAddresses", "NatGateways",
        "NetworkInterfaces",
    },
    "azure.mgmt.storage": {"StorageAccounts", "BlobServices", "BlobContainers", "ManagementPolicies"},
    "azure.mgmt.msi.v2024_11_30": {"UserAssignedIdentities"},
    "azure.mgmt.authorization.v2022_04_01": {"RoleAssignments", "RoleDefinitions"},
    "azure.mgmt.resource.resources": {"ResourceGroups", "Resources", "Providers"},
    "azure.mgmt.resource.features": {"Features"},
    "azure.mgmt.resource.locks": {"ManagementLocks"},
    "azure.mgmt.resource.subscriptions": {"Subscriptions"},
    "azure.storage.blob._generated": {"Service", "Container", "Blob", "BlockBlob"},
}
# Blobs are addressed by a URL of the caller's: on loopback as Microsoft's emulator has it, by path.
BLOB_PATHS = {
    "Service": "/{account}",
    "Container": "/{account}/{container}",
    "Blob": "/{account}/{container}/{blob}",
    "BlockBlob": "/{account}/{container}/{blob}",
}
SCALARS = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "long": {"type": "integer"},
    "float": {"type": "number"},
    "decimal": {"type": "number"},
    "bool": {"type": "boolean"},
    "object": {},
    "iso-8601": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
    "rfc-1123": {"type": "string", "pattern": r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$"},
    "duration": {"type": "string", "pattern": r"^P"},
    "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
    "time": {"type": "string"},
    "bytearray": {"type": "string", "pattern": r"^[A-Za-z0-9+/]*={0,2}$"},
    "base64": {"type": "string"},
}
BOUNDS = {
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "minimum": "minimum",
    "maximum": "maximum",
    "minimum_ex": "exclusiveMinimum",
    "maximum_ex": "exclusiveMaximum",
    "min_items": "minItems",
    "max_items": "maxItems",
    "unique": "uniqueItems",
    "multiple": "multipleOf",
}
# Lists that Microsoft stopped keeping: there are more.
OPEN = {"VirtualMachineSizeTypes"}
ENUM = re.compile(r"str or ~[\w.]+\.(\w+)")


# Models ---------------------------------------------------------------------------------------------------------------


class Models:
    """The classes of a package's `models`, as definitions that are written when something leads to them."""

    def __init__(self, package, definitions):
        self.module = importlib.import_module(f"{package}.models")
        self.prefix = package.removeprefix("azure.").removeprefix("mgmt.").split(".v20")[0]
        self.definitions = definitions

    def of(self, way, kind, enum=None):
        """A schema of a type as attribute maps write it: `str`, `[T]`, `{T}`, the name of a model or an enumeration."""
        if kind[0] == "[":
            return {"type": "array", "items": self.of(way, kind[1:-1], enum)}
        if kind[0] == "{":
            return {"type": "object", "additionalProperties": self.of(way, kind[1:-1], enum)}
        if kind == "str" and enum:
            return self.enumeration(enum)
        if kind in SCALARS:
            return SCALARS[kind]
        model = getattr(self.module, kind)
        if not hasattr(model, "_attribute_map"):
            return self.enumeration(kind)
        return self.reference(way, model)

    def enumeration(self, name):
        values = getattr(self.module, name, None)
        if values is None or name in OPEN:
            return SCALARS["str"]
        return {"type": "string", "enum": [value.value for value in values]}

    def reference(self, way, model):
        names = [model.__name__] + subtypes(model)
        places = [self.define(way, getattr(self.module, name)) for name in names]
        return places[0] if len(places) == 1 else {"anyOf": places}

    def define(self, way, model):
        name = f"{way}.{self.prefix}.{model.__name__}"
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self.structure(way, model)
        return {"$ref": f"#/$defs/{name}"}

    def structure(self, way, model):
        root, enums = new_object(), enumerations(model)
        for attribute, entry in model._attribute_map.items():
            rules = model._validation.get(attribute, {})
            if way == "ask" and rules.get("readonly"):
                continue
            if entry["key"] == "":
                root["additionalProperties"] = self.of(way, entry["type"][1:-1])
                continue
            value = self.of(way, entry["type"], enums.get(attribute)) | bounds(rules)
            if rules.get("constant"):
                value = {"const": getattr(model, attribute)}
            put(root, keys(entry["key"]), value, bool(rules.get("required")))
        return root


def subtypes(model):
    below = [name for names in getattr(model, "_subtype_map", {}).values() for name in names.values()]
    return sorted(set(below))


def enumerations(model):
    """Attribute -> enumeration: attribute maps say `str` of both, documentation tells them apart."""
    found, attribute = {}, None
    text = " ".join(inspect.getdoc(model).split())
    for field in re.split(r" (?=:(?:ivar|vartype) )", text):
        match = re.match(r":vartype (\w+): (.*)", field)
        enum = match and ENUM.search(match[2])
        if enum:
            found[match[1]] = enum[1]
    return found


def new_object():
    return {"type": "object", "properties": {}, "additionalProperties": False}


def keys(path):
    return [key.replace("\\.", ".") for key in re.split(r"(?<!\\)\.", path)]


def put(schema, path, value, is_required):
    """`properties.x` is a property of a property; what holds something required is required too."""
    for key in path[:-1]:
        if is_required:
            schema.setdefault("required", [])
            schema["required"] += [key] * (key not in schema["required"])
        schema = schema["properties"].setdefault(key, new_object())
    schema["properties"][path[-1]] = value
    if is_required:
        schema.setdefault("required", []).append(path[-1])


def bounds(rules):
    return {BOUNDS[rule]: strict(value) if rule == "pattern" else value for rule, value in rules.items() if rule in BOUNDS}


def strict(pattern):
    """A hyphen behind a class is one to Python, and the beginning of a range that has no end to other engines."""
    return re.sub(r"(\\[wds])-", r"\1\\-", pattern)


# Operations -----------------------------------------------------------------------------------------------------------


def calls(node, name):
    """Calls whose function is called so, bare or as somebody's attribute."""
    for found in ast.walk(node):
        if isinstance(found, ast.Call):
            called = found.func
            if name in (getattr(called, "id", None), getattr(called, "attr", None)):
                yield found


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def keywords(call):
    return {word.arg: constant(word.value) for word in call.keywords if word.arg}


class Request:
    """What a function `build_…_request` writes."""

    def __init__(self, function):
        request = next(calls(function, "HttpRequest"))
        self.method = keywords(request)["method"]
        self.fixed = dict(self.literals(function))
        self.path = next(self.templates(function))
        self.parameters, self.many = {}, []
        for call in calls(function, "url"):
            name, kind = constant(call.args[0]), constant(call.args[2])
            words = keywords(call)
            self.parameters[name] = SCALARS.get(kind, SCALARS["str"]) | bounds(words)
            if words.get("skip_quote"):
                self.many.append(name)
        self.places = dict(self.path_arguments(function))
        self.query = dict(self.named(function, "_params", "query"))
        self.headers = dict(self.named(function, "_headers", "header"))
        self.api_version = self.fixed.get("api_version")

    @staticmethod
    def literals(function):
        """Arguments with a value of their own: API version, `comp`, `restype`, the kind of a blob."""
        for call in calls(function, "pop"):
            if len(call.args) == 2 and isinstance(call.args[1], ast.Call) and len(call.args[1].args) == 2:
                yield constant(call.args[0]), constant(call.args[1].args[1])

    @staticmethod
    def templates(function):
        for call in calls(function, "pop"):
            if constant(call.args[0]) == "template_url":
                yield call.args[1].value
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "_url":
                if isinstance(node.value, ast.Constant):
                    yield node.value.value

    @staticmethod
    def path_arguments(function):
        """Name in the path -> name of the argument."""
        for node in ast.walk(function):
            named = [getattr(target, "id", None) for target in getattr(node, "targets", [])]
            if isinstance(node, ast.Assign) and "path_format_arguments" in named:
                for key, call in zip(node.value.keys, node.value.values):
                    yield key.value, constant(call.args[0])

    def named(self, function, dictionary, kind):
        """Query parameters or headers: whatever is set without an `if` is required."""
        optional = {id(below) for node in ast.walk(function) if isinstance(node, ast.If) for below in ast.walk(node)}
        for node in ast.walk(function):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if not isinstance(target, ast.Subscript) or getattr(target.value, "id", None) != dictionary:
                continue
            call = next(calls(node.value, kind))
            name, scalar = constant(call.args[0]), constant(call.args[2])
            schema = SCALARS.get(scalar, SCALARS["str"]) | bounds(keywords(call))
            fixed = self.fixed.get(name)
            if fixed is not None and name not in ("content_type", "accept"):
                schema = {"const": fixed}
            yield constant(target.slice), {"required": id(node) not in optional, "schema": schema}


def plain(name):
    """`begin_create_or_update` and `_create_or_update_initial` are one operation."""
    return name.removeprefix("begin_").removeprefix("_").removesuffix("_initial")


def camel(name):
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


class Operation:
    def __init__(self):
        self.builder, self.body, self.answer, self.statuses, self.has_headers = None, None, None, [], set()

    def read(self, method):
        for call in (found for found in ast.walk(method) if isinstance(found, ast.Call)):
            name = getattr(call.func, "id", "")
            if name.startswith("build_") and name.endswith("_request"):
                self.builder = self.builder or name
        for call in calls(method, "body"):
            self.body = self.body or constant(call.args[1])
        for call in calls(method, "_deserialize"):
            kind = constant(call.args[0])
            # Texts are headers; the rest is the answer.
            if kind and kind not in SCALARS:
                self.answer = self.answer or kind
        for node in ast.walk(method):
            if isinstance(node, ast.Compare) and getattr(node.left, "attr", None) == "status_code":
                if isinstance(node.comparators[0], ast.List) and not self.statuses:
                    self.statuses = [constant(status) for status in node.comparators[0].elts]


def operations_of(tree, groups):
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.removesuffix("Operations") in groups:
            found = {}
            methods = [it for it in node.body if isinstance(it, ast.FunctionDef) and not is_overload(it)]
            # The first call of a long operation knows its statuses, the other one what it ends with.
            for method in sorted(methods, key=lambda it: not it.name.endswith("_initial")):
                found.setdefault(plain(method.name), Operation()).read(method)
            for name, operation in found.items():
                if operation.builder:
                    yield node.name.removesuffix("Operations"), name, operation


def is_overload(function):
    return any(getattr(decorator, "id", "") == "overload" for decorator in function.decorator_list)


def written(group, name, operation, request, models):
    reference = lambda way, kind: models.of(way, kind) if kind else None
    path = BLOB_PATHS.get(group, request.path) if request.path == "{url}" else request.path
    parameters = {place: request.parameters[argument] for place, argument in request.places.items() if place != "url"}
    # A scope is a whole id; not every client says so.
    many = [place for place, argument in request.places.items() if argument in [*request.many, "scope"]]
    is_blob = request.path == "{url}"
    return {
        "name": f"{group}_{camel(name)}",
        "method": request.method,
        "path": path,
        "parameters": parameters,
        "many": ["blob"] * (group in ("Blob", "BlockBlob")) if is_blob else many,
        "api_version": request.api_version,
        "query": request.query,
        "headers": {key.lower(): rule for key, rule in request.headers.items()},
        "is_blob": is_blob,
        "body": None if is_blob else reference("ask", operation.body),
        "answer": None if is_blob else reference("answer", operation.answer),
        "statuses": operation.statuses,
    }


def package(name, groups, definitions):
    module = importlib.import_module(name)
    models = Models(name, definitions)
    for source in sorted(Path(module.__file__).parent.glob("operations/*.py")):
        tree = ast.parse(source.read_text())
        functions = {it.name: it for it in tree.body if isinstance(it, ast.FunctionDef)}
        for group, operation, read in operations_of(tree, groups):
            request = Request(functions[read.builder])
            # Of any kind of resource whatever: each is checked by its own kind's operation.
            if not request.path.startswith(("/{resourceId}", "/{roleAssignmentId}", "/{roleId}")):
                if "{resourceProviderNamespace}/{parentResourcePath}" not in request.path or group == "ManagementLocks":
                    yield written(group, operation, read, request, models)


def blob_versions():
    return importlib.import_module("azure.storage.blob._serialize")._SUPPORTED_API_VERSIONS


def main():
    definitions = {}
    operations = [it for name, groups in PACKAGES.items() for it in package(name, groups, definitions)]
    contract = {"operations": operations, "blob_versions": blob_versions(), "$defs": definitions}
    json.dump(contract, sys.stdout)


main()
