"""moto 5.2.5 as a server, put right where it is other than AWS in what dsctl stands on.

- A condition of a bucket's policy is not looked at: `Deny` unless TLS denied everything. Here such statements do not
  count, as if every request came by TLS.
- A policy about everybody (`"Principal": "*"`) made `PutBucketLogging` fail with 500.
- `CreateBucket` lost its tags; a search for NAT gateways by tag found all of them, one by an unknown id none, and to
  delete one that does not exist failed with 500.
- `RunInstances` lost the termination protection, the volume's speed, the interface's tags and the groups that an
  interface names; a machine showed no `cpuOptions`.
- `DescribeTags` called NAT gateways and addresses otherwise than AWS does.
- An image that was deregistered was absent from the answer, without an error.
- `GetBucketVersioning` of a bucket without it had the wrong root element.

And made faster, since a crash matrix asks it 100,000 times: served by waitress, neither its folder nor the names of a
class are read at every call, Amazon's own policies are read once, and what is never thrown away is not looked through
for garbage.
"""

import functools, gc, json, sys, types
import moto.server, waitress, xmltodict
from moto import backends
from moto.core import responses
from moto.ec2.exceptions import EC2ClientError, UnvailableAMIIdError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import IAMBackend
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.server import main

def listed(value):
    return value if isinstance(value, list) else [value]

def wrapped(owner, name):
    def put(wrapper):
        original = getattr(owner, name)
        setattr(owner, name, functools.wraps(original)(lambda *args, **named: wrapper(original, *args, **named)))
    return put

@wrapped(FakeBucket, "get_permission")
def get_permission(original, bucket, action, resource):
    policy = json.loads(bucket.policy) if bucket.policy else {}
    counting = [one for one in listed(policy.get("Statement", [])) if not one.get("Condition")]
    if not counting:
        return PermissionResult.NEUTRAL
    return IAMPolicy(json.dumps(policy | {"Statement": counting})).is_action_permitted(action, resource)

may_log = FakeBucket._log_permissions_enabled_policy

def policy_lets_log(target_bucket, target_prefix):
    bucket, policy = target_bucket, json.loads(target_bucket.policy or b"{}")
    named = [one for one in listed(policy.get("Statement", [])) if isinstance(one.get("Principal"), dict)]
    policy = json.dumps(policy | {"Statement": named}).encode()
    return may_log(types.SimpleNamespace(name=bucket.name, partition=bucket.partition, policy=policy), target_prefix)

FakeBucket._log_permissions_enabled_policy = staticmethod(policy_lets_log)

@wrapped(S3Response, "_bucket_response_put")
def put_bucket(original, response, request, bucket, query):
    is_new = not set(query or {}) - {"x-id"} and bucket not in response.backend.buckets
    answer = original(response, request, bucket, query)
    wanted = (xmltodict.parse(response.body).get("CreateBucketConfiguration") or {}) if is_new and response.body else {}
    tags = listed((wanted.get("Tags") or {}).get("Tag") or [])
    if tags and bucket in response.backend.buckets:
        response.backend.put_bucket_tagging(bucket, {tag["Key"]: tag.get("Value") or "" for tag in tags})
    return answer

@wrapped(S3Response, "get_bucket_versioning")
def get_bucket_versioning(original, response):
    status = response.backend.get_bucket_versioning(response.bucket_name)
    inner = f"<Status>{status}</Status>" if status else ""
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return 200, {}, f'<VersioningConfiguration xmlns="{space}">{inner}</VersioningConfiguration>'

EC2_PREFIX_TO_RESOURCE |= {"nat": "natgateway", "eipalloc": "elastic-ip"}

@wrapped(EC2Backend, "describe_images")
def describe_images(original, backend, ami_ids=(), *args, **named):
    for withdrawn in set(ami_ids or ()) & set(backend.deleted_amis):
        raise UnvailableAMIIdError(withdrawn)
    return original(backend, ami_ids, *args, **named)

@wrapped(EC2Backend, "describe_nat_gateways")
def describe_nat_gateways(original, backend, filters, ids):
    tags = {name: values for name, values in (filters or {}).items() if name.startswith("tag:")}
    def fits(gateway):
        has = {f"tag:{tag['key']}": tag["value"] for tag in gateway.get_tags()}
        return all(has.get(name) in values for name, values in tags.items())
    for unknown in set(ids or []) - set(backend.nat_gateways):
        raise EC2ClientError("NatGatewayNotFound", f"The Nat Gateway {unknown} was not found")
    return [gateway for gateway in original(backend, filters, ids) if fits(gateway)]

@wrapped(EC2Backend, "delete_nat_gateway")
def delete_nat_gateway(original, backend, nat_gateway_id):
    backend.describe_nat_gateways(None, [nat_gateway_id])
    return original(backend, nat_gateway_id)

@wrapped(InstanceResponse, "run_instances")
def run_instances(original, response):
    answer = original(response)
    interface_tags = response._parse_tag_specification().get("network-interface", {})
    disks = {one["DeviceName"]: one.get("Ebs", {}) for one in response._get_param("BlockDeviceMappings", [])}
    for instance in answer.result.instances:
        instance.disable_api_termination = bool(response._get_param("DisableApiTermination"))
        for interface in instance.nics.values():
            instance.security_groups = instance.security_groups or interface.group_set
            response.ec2_backend.create_tags([interface.id], interface_tags) if interface_tags else None
        for device, attached in instance.block_device_mapping.items():
            volume = response.ec2_backend.volumes[attached.volume_id]
            volume.iops = disks.get(device, {}).get("Iops") or volume.iops
            volume.throughput = disks.get(device, {}).get("Throughput") or volume.throughput
    return answer

def cpu_options(instance):
    cores = INSTANCE_TYPES[instance.instance_type]["VCpuInfo"]
    return {"CoreCount": cores["DefaultCores"], "ThreadsPerCore": cores.get("DefaultThreadsPerCore", 1)}

Instance.cpu_options = property(cpu_options)

modules = tuple(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: modules
responses.method_names_from_class = functools.cache(responses.method_names_from_class)
# Keeps connections, and starts no thread for each of them.
def serve(host, port, app, **_):
    server = waitress.create_server(app, host=host, port=port, threads=2, ident=None)
    print(f"Running on {host}:{port}", flush=True)
    server.run()

moto.server.run_simple = serve

own_policies = {}

@wrapped(IAMBackend, "_init_aws_policies")
def init_aws_policies(original, backend):
    key = (backend.account_id, backend.region_name)
    if key not in own_policies:
        own_policies[key] = original(backend)
    return list(own_policies[key])

gc.freeze()
gc.set_threshold(50_000, 50, 100)
main(sys.argv[1:])
