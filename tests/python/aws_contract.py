"""Checks recorded requests against Amazon's own models of the services, as botocore packages them.

usage: aws_contract.py RECORD     (lines of JSON that the proxy wrote)

A request is read the way the service reads it: every key must be one of the model's, every value of its type, and what
the model requires must be there. Prints how many requests of each operation are valid, and each violation; ends with 1
if there is any, or no request at all.
"""

import base64
import binascii
import collections
import functools
import json
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timezone

import botocore.session
from botocore.validate import ParamValidator

# As signatures name them -> as botocore names their models.
MODELS = {"servicequotas": "service-quotas"}
# Headers of every request; none of them is an operation's.
COMMON_HEADERS = {
    "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-user-agent", "x-amz-decoded-content-length",
    "x-amz-trailer", "x-amz-target",
}
S3_SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
TYPE_ATTRIBUTE = "{http://www.w3.org/2001/XMLSchema-instance}type"
# Classes of letters that python's expressions do not have.
LETTERS = {r"\p{L}": r"\w", r"\p{N}": r"\w", r"\p{Z}": r"\s", r"\p{IsLetter}": r"\w"}


class Violations(list):
    def at(self, path, message):
        self.append(f"{path or 'request'}: {message}")


# Scalars ------------------------------------------------------------------------------------------------------------


def scalar(shape, text, path, wrong):
    """A value of the shape's type, from its text."""
    try:
        value = READERS.get(shape.type_name, str)(text)
    except (ValueError, binascii.Error):
        wrong.at(path, f"{text!r} is no {shape.type_name}")
        return None
    if isinstance(value, str):
        check_text(shape, value, path, wrong)
    if shape.type_name in ("integer", "long", "float", "double"):
        check_bound(shape, value, "max", path, wrong)
    return value


def boolean(text):
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def timestamp(text):
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%a, %d %b %Y %H:%M:%S GMT"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
        except ValueError:
            pass
    raise ValueError(text)


def blob(text):
    return base64.b64decode(text, validate=True)


READERS = {
    "integer": int, "long": int, "float": float, "double": float, "boolean": boolean, "timestamp": timestamp, "blob": blob,
}


def check_text(shape, value, path, wrong):
    if shape.enum and value not in shape.enum:
        wrong.at(path, f"{value!r} is none of {', '.join(shape.enum[:12])}{', …' if len(shape.enum) > 12 else ''}")
    pattern = shape.metadata.get("pattern")
    if pattern and not matches(pattern, value):
        wrong.at(path, f"{value!r} does not match {pattern}")
    check_bound(shape, len(value), "max", path, wrong)


def matches(pattern, value):
    for ours, theirs in LETTERS.items():
        pattern = pattern.replace(ours, theirs)
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        # Java's expressions know more than python's: such a pattern is not checked.
        return True


def check_bound(shape, size, bound, path, wrong):
    limit = shape.metadata.get(bound)
    if limit is not None and size > float(limit):
        wrong.at(path, f"{size} is over the largest, {limit}")


# Query protocols: keys with dots -> a tree -> the model's structure ----------------------------------------------------


def tree_of(pairs, wrong):
    tree = {}
    for key, value in pairs:
        node, parts = tree, key.split(".")
        for part in parts[:-1]:
            node = node.setdefault(part, {}) if isinstance(node, dict) else {}
        if not isinstance(node, dict) or parts[-1] in node:
            wrong.at(key, "is there twice, or both a value and a group")
        else:
            node[parts[-1]] = value
    return tree


def query_name(protocol, name, shape):
    serialization = shape.serialization
    if protocol != "ec2":
        return serialization.get("name", name)
    if "queryName" in serialization:
        return serialization["queryName"]
    written = serialization.get("name", name)
    return written[0].upper() + written[1:]


def from_tree(protocol, shape, node, path, wrong):
    if shape.type_name == "structure":
        return structure_from_tree(protocol, shape, node, path, wrong)
    if shape.type_name == "list":
        return list_from_tree(protocol, shape, node, path, wrong)
    if shape.type_name == "map":
        wrong.at(path, "maps are not understood here")
        return None
    if isinstance(node, dict):
        wrong.at(path, f"is a group ({', '.join(node)}), not a {shape.type_name}")
        return None
    return scalar(shape, node, path, wrong)


def structure_from_tree(protocol, shape, node, path, wrong):
    if not isinstance(node, dict):
        wrong.at(path, f"{node!r} is no structure")
        return {}
    by_name = {query_name(protocol, name, member): (name, member) for name, member in shape.members.items()}
    found = {}
    for key, below in node.items():
        if key not in by_name:
            wrong.at(f"{path}.{key}".lstrip("."), f"{shape.name} has no such member")
            continue
        name, member = by_name[key]
        found[name] = from_tree(protocol, member, below, f"{path}.{key}".lstrip("."), wrong)
    return found


def list_from_tree(protocol, shape, node, path, wrong):
    if isinstance(node, str):
        if node == "" and protocol != "ec2":
            return []
        wrong.at(path, f"{node!r} is no list")
        return []
    if protocol != "ec2" and not shape.serialization.get("flattened"):
        inner = shape.member.serialization.get("name", "member")
        if set(node) != {inner}:
            wrong.at(path, f"items stand under .{inner}.N, not {', '.join(node)}")
            return []
        node = node[inner]
    if not isinstance(node, dict) or set(node) != {str(n + 1) for n in range(len(node))}:
        wrong.at(path, f"items are numbered from 1, not {node!r}"[:200])
        return []
    return [from_tree(protocol, shape.member, node[str(n + 1)], f"{path}.{n + 1}", wrong) for n in range(len(node))]


def check_query(model, operation, request, wrong):
    pairs = urllib.parse.parse_qsl(request.get("body", ""), keep_blank_values=True, strict_parsing=True)
    named = dict(pairs)
    if named.get("Version") != model.api_version:
        wrong.at("Version", f"{named.get('Version')!r} is not {model.api_version}")
    rest = [(key, value) for key, value in pairs if key not in ("Action", "Version")]
    shape = operation.input_shape
    if shape is None:
        for key, _ in rest:
            wrong.at(key, "the operation has no input")
        return {}
    return from_tree(model.protocol, shape, tree_of(rest, wrong), "", wrong)


# JSON protocols -------------------------------------------------------------------------------------------------------


def from_json(shape, value, path, wrong):
    kind = shape.type_name
    if kind == "structure" and isinstance(value, dict):
        for key in value.keys() - shape.members.keys():
            wrong.at(f"{path}.{key}".lstrip("."), f"{shape.name} has no such member")
        known = value.keys() & shape.members.keys()
        return {key: from_json(shape.members[key], value[key], f"{path}.{key}".lstrip("."), wrong) for key in known}
    if kind == "list" and isinstance(value, list):
        return [from_json(shape.member, item, f"{path}[{n}]", wrong) for n, item in enumerate(value)]
    if kind == "map" and isinstance(value, dict):
        return {key: from_json(shape.value, item, f"{path}.{key}", wrong) for key, item in value.items()}
    if kind == "timestamp" and isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, timezone.utc)
    if kind == "blob" and isinstance(value, str):
        return scalar(shape, value, path, wrong)
    if isinstance(value, str):
        check_text(shape, value, path, wrong)
    return value


def check_json(model, operation, request, wrong):
    expected = f"{model.metadata['targetPrefix']}.{operation.name}"
    if request["headers"].get("x-amz-target") != expected:
        wrong.at("x-amz-target", f"{request['headers'].get('x-amz-target')!r} is not {expected}")
    if request["headers"].get("content-type") != f"application/x-amz-json-{model.metadata['jsonVersion']}":
        wrong.at("content-type", f"{request['headers'].get('content-type')!r}")
    body = json.loads(request.get("body") or "{}")
    return from_json(operation.input_shape, body, "", wrong) if operation.input_shape else {}


# S3: where each member stands -------------------------------------------------------------------------------------------


def s3_route(operation):
    """Segments of the path, and what must stand in the query."""
    path, _, query = operation.http["requestUri"].partition("?")
    segments = [part for part in path.split("/") if part]
    return segments, dict(urllib.parse.parse_qsl(query, keep_blank_values=True))


def s3_operations(model, request):
    """Operations that such a request may be, the narrowest first."""
    path = request["path"].lstrip("/")
    bucket, _, key = path.partition("/")
    count = 2 if key else 1 if bucket else 0
    query = dict(urllib.parse.parse_qsl(request["query"], keep_blank_values=True))
    fitting = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        segments, wanted = s3_route(operation)
        required = required_outside(operation)
        if operation.http["method"] != request["method"] or len(segments) != count:
            continue
        if not all(query.get(part) == value for part, value in wanted.items() if part != "x-id"):
            continue
        in_query = all(part in query for part in required["querystring"])
        if in_query and all(part in request["headers"] for part in required["header"]):
            narrow = len(wanted) + len(required["querystring"]) + len(required["header"])
            fitting.append((len(wanted), narrow, name == request["operation"], operation))
    fitting.sort(key=lambda one: one[:3], reverse=True)
    return [one[3] for one in fitting]


def required_outside(operation):
    shape, found = operation.input_shape, {"querystring": [], "header": [], "uri": []}
    for name in shape.required_members if shape else []:
        location, written = place(shape.members[name])
        if location in found:
            found[location].append(written)
    return found


def place(member):
    """Where a member stands, and its name there: those of headers know no case."""
    location, written = member.serialization.get("location"), member.serialization.get("name")
    return location, written.lower() if location == "header" else written


def check_s3(model, operation, request, wrong):
    shape = operation.input_shape
    members = shape.members if shape else {}
    by_place = {place(member): (name, member) for name, member in members.items()}
    found = {}
    bucket, _, key = urllib.parse.unquote(request["path"].lstrip("/")).partition("/")
    for name, value in (("Bucket", bucket), ("Key", key)):
        if value and name in members:
            found[name] = scalar(members[name], value, name, wrong)
    s3_query(operation, request, by_place, found, wrong)
    s3_headers(request, members, by_place, found, wrong)
    s3_body(operation, request, shape, found, wrong)
    if operation.http_checksum.get("requestChecksumRequired") or operation.http_checksum_required:
        s3_checksum(request["headers"], wrong)
    return found


def s3_query(operation, request, by_place, found, wrong):
    _, fixed = s3_route(operation)
    for key, value in urllib.parse.parse_qsl(request["query"], keep_blank_values=True):
        if key == "x-id":
            if value != operation.name:
                wrong.at("?x-id", f"{value} is not {operation.name}")
        elif ("querystring", key) in by_place:
            name, member = by_place[("querystring", key)]
            found[name] = scalar(member, value, f"?{key}", wrong)
        elif key not in fixed:
            wrong.at(f"?{key}", f"{operation.name} has no such parameter")


def s3_headers(request, members, by_place, found, wrong):
    prefixes = {place(it)[1].lower(): name for name, it in members.items() if place(it)[0] == "headers"}
    for header, value in request["headers"].items():
        if ("header", header) in by_place:
            name, member = by_place[("header", header)]
            # Lengths are not the operation's business: it reads its body to the end.
            found[name] = scalar(member, value, header, wrong) if member.type_name != "list" else value.split(",")
            continue
        prefix = next((prefix for prefix in prefixes if header.startswith(prefix)), None)
        if prefix:
            found.setdefault(prefixes[prefix], {})[header[len(prefix):]] = value
        elif header.startswith("x-amz-") and header not in COMMON_HEADERS and not header.startswith("x-amz-checksum-"):
            wrong.at(header, "the operation has no such header")


def s3_body(operation, request, shape, found, wrong):
    payload = shape.serialization.get("payload") if shape else None
    if payload is None:
        if request["length"]:
            wrong.at("body", f"{operation.name} has none, this one is {request['length']} bytes")
        return
    member = shape.members[payload]
    if member.type_name != "structure":
        found[payload] = request.get("body", "")
        return
    if not request.get("body"):
        return
    root = ElementTree.fromstring(request["body"])
    name = member.serialization.get("name", member.name)
    if local(root, wrong) != name:
        wrong.at("body", f"its root is {root.tag}, not {name}")
    found[payload] = from_xml(member, root, name, wrong)


def local(element, wrong):
    if not element.tag.startswith(S3_SPACE):
        wrong.at(element.tag, f"is not of {S3_SPACE}")
    return element.tag.rsplit("}", 1)[-1]


def from_xml(shape, element, path, wrong):
    if shape.type_name == "structure":
        return structure_from_xml(shape, element, path, wrong)
    if shape.type_name == "list":
        inner = shape.member.serialization.get("name", "member")
        for child in element:
            if local(child, wrong) != inner:
                wrong.at(path, f"items are {inner}, not {child.tag}")
        return [from_xml(shape.member, child, f"{path}[{n}]", wrong) for n, child in enumerate(element)]
    return scalar(shape, element.text or "", path, wrong)


def structure_from_xml(shape, element, path, wrong):
    by_name = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
    found = {}
    for attribute, value in element.attrib.items():
        name, member = by_name.get("xsi:type", (None, None)) if attribute == TYPE_ATTRIBUTE else (None, None)
        if member is None:
            wrong.at(path, f"has no attribute {attribute}")
        else:
            found[name] = scalar(member, value, f"{path}@type", wrong)
    for child in element:
        key = local(child, wrong)
        name, member = by_name.get(key, (None, None))
        if member is None:
            wrong.at(f"{path}.{key}", f"{shape.name} has no such member")
        elif member.type_name == "list" and member.serialization.get("flattened"):
            found.setdefault(name, []).append(from_xml(member.member, child, f"{path}.{key}", wrong))
        elif name in found:
            wrong.at(f"{path}.{key}", "is there twice")
        else:
            found[name] = from_xml(member, child, f"{path}.{key}", wrong)
    return found


def s3_checksum(headers, wrong):
    given = "content-md5" in headers or any(name.startswith("x-amz-checksum-") for name in headers)
    if not given and not headers.get("x-amz-trailer", "").startswith("x-amz-checksum-"):
        wrong.at("headers", "the operation wants a checksum")


# All together -----------------------------------------------------------------------------------------------------------


def operation_of(model, request, wrong):
    if model.protocol == "rest-xml":
        fitting = s3_operations(model, request)
        if not fitting:
            wrong.at("", f"no operation for {request['method']} {request['path']}?{request['query']}")
            return None
        if fitting[0].name != request["operation"]:
            wrong.at("", f"it is {fitting[0].name}, recorded as {request['operation']}")
        return fitting[0]
    if request["operation"] not in model.operation_names:
        wrong.at("", f"{model.service_name} has no {request['operation']}")
        return None
    if (request["method"], request["path"]) != ("POST", "/"):
        wrong.at("", f"{request['method']} {request['path']} is not POST /")
    return model.operation_model(request["operation"])


def check(models, request):
    wrong = Violations()
    try:
        model = models(request["service"])
    except Exception as error:
        return [f"service {request['service']!r}: {error}"]
    operation = operation_of(model, request, wrong)
    if operation is None:
        return wrong
    reader = {"ec2": check_query, "query": check_query, "json": check_json, "rest-xml": check_s3}[model.resolved_protocol]
    try:
        parameters = reader(model, operation, request, wrong)
    except (ValueError, ElementTree.ParseError) as error:
        wrong.at("body", f"cannot be read: {error}")
        return wrong
    if operation.input_shape and not wrong:
        report = ParamValidator().validate(parameters, operation.input_shape)
        if report.has_errors():
            wrong.at("", report.generate_report())
    return wrong


def main(path):
    session = botocore.session.get_session()
    models = functools.cache(lambda service: session.get_service_model(MODELS.get(service, service)))
    valid, violations = collections.Counter(), 0
    with open(path) as lines:
        for line in lines:
            request = json.loads(line)
            wrong = check(models, request)
            valid[f"{request['service']} {request['operation']}"] += not wrong
            violations += len(wrong)
            for message in wrong:
                print(f"violation: {request['number']} {request['service']} {request['operation']}: {message}")
    for name, count in sorted(valid.items()):
        print(f"{count:5} {name}")
    print(f"{valid.total()} requests valid, {violations} violations")
    return 1 if violations or not valid.total() else 0


sys.exit(main(sys.argv[1]))
