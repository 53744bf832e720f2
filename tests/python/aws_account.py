"""Lists everything alive in an account that the AWS tests care for; does there what somebody else might do.

One line of JSON in ({"endpoint": URL, "region": NAME}), one line of JSON out: lists by kind, each thing with `id` and
`tags`. With {"service", "operation", "arguments"} beside it, that one call is made instead, as boto3 names it, and its
answer is what comes out; bodies are text. Default VPCs and what comes with them, main route tables, default security groups and roles outside /dsctl/ are not
listed: nobody of ours made them.
"""

import base64
import functools
import json
import sys
import traceback

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE_PATH = "/dsctl/"
# Calls that fail so when nothing is configured.
NOT_CONFIGURED = {
    "NoSuchPublicAccessBlockConfiguration", "ServerSideEncryptionConfigurationNotFoundError", "NoSuchBucketPolicy",
    "NoSuchTagSet", "NoSuchLifecycleConfiguration", "OwnershipControlsNotFoundError",
}


@functools.cache
def client(service, endpoint, region):
    config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, proxies={})
    return boto3.client(
        service, endpoint_url=endpoint, region_name=region, aws_access_key_id="testing", aws_secret_access_key="testing",
        config=config,
    )


def tags(thing, key="Tags"):
    return {tag["Key"]: tag["Value"] for tag in thing.get(key) or []}


def pages(of, operation, field, **arguments):
    if of.can_paginate(operation):
        return [thing for page in of.get_paginator(operation).paginate(**arguments) for thing in page.get(field, [])]
    return getattr(of, operation)(**arguments).get(field, [])


def unless_absent(call, field, **arguments):
    try:
        return call(**arguments).get(field)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_CONFIGURED:
            return None
        raise


def instances(ec2):
    found = []
    for reservation in pages(ec2, "describe_instances", "Reservations"):
        for it in reservation["Instances"]:
            if it["State"]["Name"] not in ("terminated", "shutting-down"):
                found.append(instance(ec2, it))
    return found


def instance(ec2, it):
    def attribute(name):
        return ec2.describe_instance_attribute(InstanceId=it["InstanceId"], Attribute=name)

    data = attribute("userData").get("UserData", {}).get("Value")
    disks = [mapping["Ebs"] for mapping in it.get("BlockDeviceMappings", []) if "Ebs" in mapping]
    return {
        "id": it["InstanceId"],
        "tags": tags(it),
        "type": it["InstanceType"],
        "state": it["State"]["Name"],
        "launched": it["LaunchTime"].isoformat(),
        "image": it["ImageId"],
        "subnet": it.get("SubnetId"),
        "zone": it["Placement"]["AvailabilityZone"],
        "lifecycle": it.get("InstanceLifecycle"),
        "spot_request": it.get("SpotInstanceRequestId"),
        "public_ip": it.get("PublicIpAddress"),
        "private_ip": it.get("PrivateIpAddress"),
        "metadata": it.get("MetadataOptions", {}),
        "profile": it.get("IamInstanceProfile", {}).get("Arn"),
        "security_groups": [group["GroupId"] for group in it.get("SecurityGroups", [])],
        "volumes": [disk["VolumeId"] for disk in disks],
        "volumes_end_with_it": all(disk.get("DeleteOnTermination") for disk in disks),
        "interfaces": [interface["NetworkInterfaceId"] for interface in it.get("NetworkInterfaces", [])],
        "ebs_optimized": it.get("EbsOptimized"),
        "termination_protection": attribute("disableApiTermination")["DisableApiTermination"]["Value"],
        "user_data": base64.b64decode(data).decode() if data else None,
        "client_token": it.get("ClientToken"),
    }


def volumes(ec2):
    found = pages(ec2, "describe_volumes", "Volumes", Filters=[{"Name": "status", "Values": ["creating", "available", "in-use"]}])
    return [
        {
            "id": it["VolumeId"],
            "tags": tags(it),
            "encrypted": it.get("Encrypted"),
            "type": it.get("VolumeType"),
            "gib": it["Size"],
            "iops": it.get("Iops"),
            "mib_a_second": it.get("Throughput"),
            "attached_to": next((one["InstanceId"] for one in it.get("Attachments", [])), None),
        }
        for it in found
    ]


def networks(ec2):
    vpcs = [it for it in pages(ec2, "describe_vpcs", "Vpcs") if not it.get("IsDefault")]

    def attribute(vpc, name):
        return ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)[name[0].upper() + name[1:]]["Value"]

    return [
        {
            "id": it["VpcId"],
            "tags": tags(it),
            "range": it["CidrBlock"],
            "dns_support": attribute(it["VpcId"], "enableDnsSupport"),
            "dns_names": attribute(it["VpcId"], "enableDnsHostnames"),
        }
        for it in vpcs
    ]


def subnets(ec2, ours):
    return [
        {
            "id": it["SubnetId"],
            "tags": tags(it),
            "network": it["VpcId"],
            "zone": it["AvailabilityZone"],
            "range": it["CidrBlock"],
            "public": it.get("MapPublicIpOnLaunch"),
        }
        for it in pages(ec2, "describe_subnets", "Subnets")
        if it["VpcId"] in ours
    ]


def internet_gateways(ec2):
    return [
        {"id": it["InternetGatewayId"], "tags": tags(it), "networks": [one["VpcId"] for one in it.get("Attachments", [])]}
        for it in pages(ec2, "describe_internet_gateways", "InternetGateways")
    ]


def addresses(ec2):
    return [
        {
            "id": it["AllocationId"],
            "tags": tags(it),
            "ip": it["PublicIp"],
            "attached_to": it.get("AssociationId") or it.get("InstanceId") or it.get("NetworkInterfaceId"),
        }
        for it in pages(ec2, "describe_addresses", "Addresses")
    ]


def nat_gateways(ec2):
    return [
        {
            "id": it["NatGatewayId"],
            "tags": tags(it),
            "state": it["State"],
            "subnet": it["SubnetId"],
            "addresses": [one.get("AllocationId") for one in it.get("NatGatewayAddresses", [])],
        }
        for it in pages(ec2, "describe_nat_gateways", "NatGateways")
        if it["State"] not in ("deleted", "deleting")
    ]


def route_tables(ec2, ours):
    found = []
    for it in pages(ec2, "describe_route_tables", "RouteTables"):
        associations = it.get("Associations", [])
        if it["VpcId"] in ours and not any(one.get("Main") for one in associations):
            subnets = sorted(one["SubnetId"] for one in associations if one.get("SubnetId"))
            table = {"id": it["RouteTableId"], "tags": tags(it), "network": it["VpcId"]}
            found.append(table | {"routes": it.get("Routes", []), "subnets": subnets})
    return found


def endpoints(ec2):
    return [
        {
            "id": it["VpcEndpointId"],
            "tags": tags(it),
            "network": it["VpcId"],
            "service": it["ServiceName"],
            "type": it["VpcEndpointType"],
            "state": it["State"],
            "route_tables": sorted(it.get("RouteTableIds") or []),
            "subnets": sorted(it.get("SubnetIds") or []),
            "security_groups": [one["GroupId"] for one in it.get("Groups") or []],
            "private_dns": it.get("PrivateDnsEnabled"),
            "policy": it.get("PolicyDocument"),
        }
        for it in pages(ec2, "describe_vpc_endpoints", "VpcEndpoints")
        if not it["State"].lower().startswith("delet")
    ]


def security_groups(ec2):
    return [
        {
            "id": it["GroupId"],
            "tags": tags(it),
            "name": it["GroupName"],
            "description": it.get("Description"),
            "network": it.get("VpcId"),
            "in": it["IpPermissions"],
            "out": it.get("IpPermissionsEgress", []),
        }
        for it in pages(ec2, "describe_security_groups", "SecurityGroups")
        if it["GroupName"] != "default"
    ]


def interfaces(ec2, ours):
    return [
        {
            "id": it["NetworkInterfaceId"],
            "tags": tags(it, "TagSet"),
            "subnet": it.get("SubnetId"),
            "description": it.get("Description"),
            # Of a NAT gateway or an endpoint: moto gives those no attachment.
            "attached_to": (it.get("Attachment") or {}).get("InstanceId") or it.get("InterfaceType"),
        }
        for it in pages(ec2, "describe_network_interfaces", "NetworkInterfaces")
        if it.get("VpcId") in ours
    ]


def spot_requests(ec2):
    return [
        {"id": it["SpotInstanceRequestId"], "tags": tags(it), "state": it["State"], "instance": it.get("InstanceId")}
        for it in pages(ec2, "describe_spot_instance_requests", "SpotInstanceRequests")
        if it["State"] in ("open", "active")
    ]


def bucket(s3, name):
    def asked(call, field):
        return unless_absent(call, field, Bucket=name)

    encryption = asked(s3.get_bucket_encryption, "ServerSideEncryptionConfiguration")
    policy = asked(s3.get_bucket_policy, "Policy")
    versions = pages(s3, "list_object_versions", "Versions", Bucket=name)
    uploads = pages(s3, "list_multipart_uploads", "Uploads", Bucket=name)
    return {
        "id": name,
        "tags": {tag["Key"]: tag["Value"] for tag in asked(s3.get_bucket_tagging, "TagSet") or []},
        "region": s3.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1",
        "public_access_block": asked(s3.get_public_access_block, "PublicAccessBlockConfiguration"),
        "versioning": asked(s3.get_bucket_versioning, "Status"),
        "encryption": (encryption or {}).get("Rules"),
        "policy": json.loads(policy) if policy else None,
        "lifecycle": asked(s3.get_bucket_lifecycle_configuration, "Rules"),
        "logging": asked(s3.get_bucket_logging, "LoggingEnabled"),
        "ownership": (asked(s3.get_bucket_ownership_controls, "OwnershipControls") or {}).get("Rules"),
        "keys": [it["Key"] for it in pages(s3, "list_objects_v2", "Contents", Bucket=name)],
        # What versioning keeps of removed and overwritten objects, in bytes that are paid for.
        "versions": len(versions),
        "unfinished_uploads": [it["Key"] for it in uploads],
    }


def buckets(s3):
    return [bucket(s3, it["Name"]) for it in s3.list_buckets()["Buckets"]]


def roles(iam):
    return [
        {
            "id": it["RoleName"],
            "tags": tags({"Tags": pages(iam, "list_role_tags", "Tags", RoleName=it["RoleName"])}),
            "trust": it["AssumeRolePolicyDocument"],
            "policies": {
                name: iam.get_role_policy(RoleName=it["RoleName"], PolicyName=name)["PolicyDocument"]
                for name in pages(iam, "list_role_policies", "PolicyNames", RoleName=it["RoleName"])
            },
            "attached": [
                policy["PolicyArn"]
                for policy in pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=it["RoleName"])
            ],
        }
        for it in pages(iam, "list_roles", "Roles", PathPrefix=ROLE_PATH)
    ]


def instance_profiles(iam):
    return [
        {
            "id": it["InstanceProfileName"],
            # Its tags show here only: moto has no list_instance_profile_tags.
            "tags": tags(iam.get_instance_profile(InstanceProfileName=it["InstanceProfileName"])["InstanceProfile"]),
            "path": it["Path"],
            "roles": [role["RoleName"] for role in it["Roles"]],
        }
        for it in pages(iam, "list_instance_profiles", "InstanceProfiles")
    ]


def account(endpoint, region):
    ec2, s3, iam = (client(service, endpoint, region) for service in ("ec2", "s3", "iam"))
    vpcs = networks(ec2)
    ours = {vpc["id"] for vpc in vpcs}
    return {
        "instances": instances(ec2),
        "volumes": volumes(ec2),
        "vpcs": vpcs,
        "subnets": subnets(ec2, ours),
        "internet_gateways": internet_gateways(ec2),
        "addresses": addresses(ec2),
        "nat_gateways": nat_gateways(ec2),
        "route_tables": route_tables(ec2, ours),
        "endpoints": endpoints(ec2),
        "security_groups": security_groups(ec2),
        "interfaces": interfaces(ec2, ours),
        "spot_requests": spot_requests(ec2),
        "buckets": buckets(s3),
        "roles": roles(iam),
        "instance_profiles": instance_profiles(iam),
    }


def call(asked):
    of = client(asked["service"], asked["endpoint"], asked["region"])
    answer = getattr(of, asked["operation"])(**asked["arguments"])
    answer.pop("ResponseMetadata", None)
    if "Body" in answer:
        answer["Body"] = answer["Body"].read().decode()
    return answer


for line in sys.stdin:
    try:
        asked = json.loads(line)
        answer = call(asked) if "operation" in asked else account(asked["endpoint"], asked["region"])
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer, default=str), flush=True)
