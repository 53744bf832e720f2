"""Lists everything alive in a subscription that the Azure tests care for, with Microsoft's own clients.

One line of JSON in ({"endpoint": URL, "subscription": ID, "token": TOKEN}), one line of JSON out: lists by kind, each thing with
`id` and `tags`, the rest as the clients read it. Nothing is changed.
"""

import functools
import json
import sys
import traceback

from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.locks import ManagementLockClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import ContainerClient

# As dsctl sends it.
BLOB_VERSION = "2024-11-04"


class Credential:
    """Never asked: the policy below says who asks, also where there is no TLS."""

    def get_token(self, *scopes, **_):
        raise AssertionError(scopes)


class Token(SansIOHTTPPolicy):
    def __init__(self, token):
        self.token = token

    def on_request(self, request):
        request.http_request.headers["Authorization"] = f"Bearer {self.token}"


@functools.cache
def client(kind, endpoint, subscription, token):
    return kind(
        Credential(), subscription, base_url=endpoint, authentication_policy=Token(token), retry_total=0,
        credential_scopes=["https://management.azure.com/.default"],
    )


def plain(thing):
    body = thing.as_dict()
    return {**body, "id": thing.id, "tags": getattr(thing, "tags", None) or {}}


def machine(compute, thing):
    group = thing.id.split("/")[4]
    view = compute.virtual_machines.get(group, thing.name, expand="instanceView").instance_view
    codes = [status.code for status in view.statuses]
    return {**plain(thing), "power": next((code for code in codes if code.startswith("PowerState/")), None)}


def containers(storage, account, endpoint, token):
    group = account.id.split("/")[4]
    for found in storage.blob_containers.list(group, account.name):
        of_it = storage.blob_containers.get(group, account.name, found.name)
        blobs = ContainerClient(
            f"{endpoint}/{account.name}", found.name, api_version=BLOB_VERSION, retry_total=0,
            raw_request_hook=Token(token).on_request,
        )
        listed = list(blobs.list_blobs(include=["metadata", "versions"]))
        yield {
            **plain(of_it),
            "tags": of_it.metadata or {},
            "account": account.name,
            "keys": [blob.name for blob in listed if blob.is_current_version],
            "versions": len(listed),
            "metadata_of": {blob.name: blob.metadata for blob in listed if blob.is_current_version},
        }


def storage_account(storage, thing):
    service = storage.blob_services.get_service_properties(thing.id.split("/")[4], thing.name)
    return {**plain(thing), "versioning": service.is_versioning_enabled}


def account(endpoint, subscription, token):
    of = functools.partial(client, endpoint=endpoint, subscription=subscription, token=token)
    compute, network, storage = of(ComputeManagementClient), of(NetworkManagementClient), of(StorageManagementClient)
    resources = of(ResourceManagementClient)
    accounts = list(storage.storage_accounts.list())
    return {
        "groups": [plain(it) for it in resources.resource_groups.list()],
        "resources": [plain(it) for it in resources.resources.list()],
        "networks": [plain(it) for it in network.virtual_networks.list_all()],
        "security_groups": [plain(it) for it in network.network_security_groups.list_all()],
        "public_addresses": [plain(it) for it in network.public_ip_addresses.list_all()],
        "nat_gateways": [plain(it) for it in network.nat_gateways.list_all()],
        "interfaces": [plain(it) for it in network.network_interfaces.list_all()],
        "machines": [machine(compute, it) for it in compute.virtual_machines.list_all()],
        "disks": [plain(it) for it in compute.disks.list()],
        "identities": [plain(it) for it in of(ManagedServiceIdentityClient).user_assigned_identities.list_by_subscription()],
        "storage_accounts": [storage_account(storage, it) for it in accounts],
        "containers": [found for it in accounts for found in containers(storage, it, endpoint, token)],
        "role_assignments": [plain(it) for it in of(AuthorizationManagementClient).role_assignments.list_for_subscription()],
        "locks": [plain(it) for it in of(ManagementLockClient).management_locks.list_at_subscription_level()],
    }


for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = account(asked["endpoint"], asked["subscription"], asked["token"])
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer, default=str), flush=True)
