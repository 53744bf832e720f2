"""Lists everything alive in a project that the GCP tests care for; does there what somebody else might do.

One line of JSON in ({"endpoint": URL, "project": NAME}), one line of JSON out: lists by kind, each thing with `id` and
`name`. With {"service", "version", "method", "arguments"} in place of the project, that one call is made instead, as
Google's client names it, and its answer is what comes out. Everything is asked as Google's documents say it, which the
client has with it: nothing is looked up in the net.
"""

import functools
import json
import sys
import traceback

import httplib2
from google.auth.credentials import AnonymousCredentials
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build

# Where each service is under its endpoint.
BASES = {"compute": "/compute/v1/", "storage": "/storage/v1/", "iam": "/", "cloudresourcemanager": "/"}


@functools.cache
def client(service, version, endpoint):
    http = AuthorizedHttp(AnonymousCredentials(), http=httplib2.Http(proxy_info=None))
    options = {"api_endpoint": endpoint + BASES[service]}
    return build(service, version, http=http, client_options=options, static_discovery=True, cache_discovery=False)


def pages(resource, field, method="list", **arguments):
    found, request = [], getattr(resource, method)(**arguments)
    while request is not None:
        answer = request.execute()
        found.extend(in_scopes(answer, field) if method == "aggregatedList" else answer.get(field, []))
        request = getattr(resource, method + "_next")(request, answer)
    return found


def in_scopes(answer, field):
    return [thing for scope in answer.get("items", {}).values() for thing in scope.get(field, [])]


def path(link):
    return "projects/" + link.split("/projects/", 1)[1]


def thing(it):
    return {"id": path(it["selfLink"]), "name": it["name"], "labels": it.get("labels", {}), "description": it.get("description")}


def networks(compute, project):
    return [
        thing(it) | {"own_subnetworks": it["autoCreateSubnetworks"], "subnetworks": [path(one) for one in it.get("subnetworks", [])]}
        for it in pages(compute.networks(), "items", project=project)
    ]


def subnetworks(compute, project):
    return [
        thing(it) | {"network": path(it["network"]), "range": it["ipCidrRange"], "private": it.get("privateIpGoogleAccess")}
        for it in pages(compute.subnetworks(), "subnetworks", "aggregatedList", project=project)
    ]


def routers(compute, project):
    return [
        thing(it) | {"network": path(it["network"]), "nats": [nat["name"] for nat in it.get("nats", [])]}
        for it in pages(compute.routers(), "routers", "aggregatedList", project=project)
    ]


def firewalls(compute, project):
    return [
        thing(it)
        | {
            "network": path(it["network"]),
            "direction": it["direction"],
            "allowed": it.get("allowed", []),
            "sources": it.get("sourceRanges", []),
            "targets": it.get("targetServiceAccounts", []),
            "disabled": it["disabled"],
        }
        for it in pages(compute.firewalls(), "items", project=project)
    ]


def instances(compute, project):
    return [
        thing(it)
        | {
            "type": it["machineType"].rsplit("/", 1)[1],
            "zone": it["zone"].rsplit("/", 1)[1],
            "status": it["status"],
            "model": it["scheduling"]["provisioningModel"],
            "disks": [path(disk["source"]) for disk in it["disks"]],
            "disks_end_with_it": all(disk["autoDelete"] for disk in it["disks"]),
            "subnetworks": [path(interface["subnetwork"]) for interface in it["networkInterfaces"]],
            "public": [config["natIP"] for one in it["networkInterfaces"] for config in one.get("accessConfigs", [])],
            "accounts": [account["email"] for account in it.get("serviceAccounts", [])],
            "metadata": {item["key"]: item["value"] for item in it["metadata"].get("items", [])},
            "shield": it["shieldedInstanceConfig"],
            "protected": it["deletionProtection"],
        }
        for it in pages(compute.instances(), "instances", "aggregatedList", project=project)
    ]


def disks(compute, project):
    return [
        thing(it)
        | {
            "type": it["type"].rsplit("/", 1)[1],
            "gib": int(it["sizeGb"]),
            "image": it.get("sourceImage"),
            "users": [path(user) for user in it.get("users", [])],
        }
        for it in pages(compute.disks(), "disks", "aggregatedList", project=project)
    ]


def service_accounts(iam, project):
    found = pages(iam.projects().serviceAccounts(), "accounts", name=f"projects/{project}")
    return [
        {"id": it["name"], "name": it["email"], "description": it.get("description"), "disabled": it.get("disabled", False)}
        for it in found
    ]


def bucket(storage, it):
    name = it["name"]
    policy = storage.buckets().getIamPolicy(bucket=name, optionsRequestedPolicyVersion=3).execute()
    return {
        "id": name,
        "name": name,
        "labels": it.get("labels", {}),
        "location": it["location"],
        "uniform": it["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"],
        "public_access": it["iamConfiguration"]["publicAccessPrevention"],
        "versioning": it.get("versioning", {}).get("enabled", False),
        "policy": policy["bindings"],
        "keys": [one["name"] for one in pages(storage.objects(), "items", bucket=name)],
        # What versioning keeps of removed and overwritten objects, in bytes that are paid for.
        "generations": len(pages(storage.objects(), "items", bucket=name, versions=True)),
    }


def account(endpoint, project):
    compute, storage, iam = (client(name, "v1", endpoint) for name in ("compute", "storage", "iam"))
    return {
        "networks": networks(compute, project),
        "subnetworks": subnetworks(compute, project),
        "routers": routers(compute, project),
        "firewalls": firewalls(compute, project),
        "instances": instances(compute, project),
        "disks": disks(compute, project),
        "service_accounts": service_accounts(iam, project),
        "buckets": [bucket(storage, it) for it in pages(storage.buckets(), "items", project=project)],
    }


def call(asked):
    *resources, method = asked["method"].split(".")
    of = client(asked["service"], asked["version"], asked["endpoint"])
    for name in resources:
        of = getattr(of, name)()
    return getattr(of, method)(**asked["arguments"]).execute() or {}


for line in sys.stdin:
    try:
        asked = json.loads(line)
        answer = call(asked) if "method" in asked else account(asked["endpoint"], asked["project"])
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer, default=str), flush=True)
