"""A default deployment's resources made by hand with boto3, one call after the other, as a script of one's own would be:
`create` makes them without a look, `check` looks at each and at its settings. What they are (zones, ranges, machine type,
disk) is told by a file, so that it is what dsctl makes: see side_by_side.py.

    python by_hand.py create|check WANTED.json
"""

import hashlib, json, pathlib, sys
import boto3

NAME = "by-hand"
BUCKET = "by-hand-00ff00ff00ff00ff"
wanted = json.loads(pathlib.Path(sys.argv[2]).read_text())
ec2, s3, iam = (boto3.client(service) for service in ("ec2", "s3", "iam"))
pairs = [{"Key": "Name", "Value": NAME}, {"Key": "deployment", "Value": NAME}]
mine = [{"Name": "tag:deployment", "Values": [NAME]}]
trust = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
under = lambda folder: f"arn:aws:s3:::{BUCKET}/{folder}/*"
may = {"Version": "2012-10-17", "Statement": [
    {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [under(it) for it in ("artifacts", "host", "secrets")]},
    {"Sid": "Report", "Effect": "Allow", "Action": "s3:PutObject", "Resource": under("host")}]}
tls_only = {"Version": "2012-10-17", "Statement": [
    {"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}},
     "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]}]}
public_access = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
old = lambda folder: {"ID": f"old-{folder}", "Status": "Enabled", "Filter": {"Prefix": f"{folder}/"},
                      "NoncurrentVersionExpiration": {"NoncurrentDays": 30}}
lifecycle = {"Rules": [{"ID": "uploads", "Status": "Enabled", "Filter": {"Prefix": ""},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
                       *map(old, ("artifacts", "host", "secrets"))]}

def objects():
    for path in map(pathlib.Path, wanted["artifacts"]):
        content = path.read_bytes()
        yield f"artifacts/{hashlib.sha256(content).hexdigest()}/{path.name}", content
    for name in ("api-key", "admin-token", "daemon-key"):
        yield f"secrets/{name}", b"0" * 64
    yield "host/main/desired.json", b"x" * wanted["host_spec_bytes"]

def tagged(kind):
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": pairs}]}

def create():
    vpc = ec2.create_vpc(CidrBlock=wanted["range"], **tagged("vpc"))["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": True})
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    gateway = ec2.create_internet_gateway(**tagged("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnet = lambda it: ec2.create_subnet(VpcId=vpc, AvailabilityZone=it["zone"], CidrBlock=it["range"], **tagged("subnet"))["Subnet"]["SubnetId"]
    private, public = ([subnet(it) for it in wanted[kind]] for kind in ("private", "public"))
    address = ec2.allocate_address(Domain="vpc", **tagged("elastic-ip"))["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=public[0], AllocationId=address, **tagged("natgateway"))["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat])
    tables = [table(vpc, private, {"NatGatewayId": nat}), table(vpc, public, {"GatewayId": gateway})]
    ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=tables, **tagged("vpc-endpoint"))
    group = ec2.create_security_group(GroupName=NAME, Description=NAME, VpcId=vpc, **tagged("security-group"))["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": it} for it in wanted["allow"]]}])
    bucket()
    role()
    machine(private[0], group)

def table(vpc, subnets, way_out):
    table = ec2.create_route_table(VpcId=vpc, **tagged("route-table"))["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **way_out)
    for subnet in subnets:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return table

def bucket():
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": pairs})
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=public_access)
    s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=encryption)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(tls_only))
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=lifecycle)
    for key, content in objects():
        s3.put_object(Bucket=BUCKET, Key=key, Body=content, ServerSideEncryption="AES256")

def role():
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=trust, Tags=pairs)
    iam.put_role_policy(RoleName=NAME, PolicyName=NAME, PolicyDocument=json.dumps(may))
    iam.create_instance_profile(InstanceProfileName=NAME, Tags=pairs)
    iam.add_role_to_instance_profile(InstanceProfileName=NAME, RoleName=NAME)

def machine(subnet, group):
    disk = {"Encrypted": True, "VolumeType": "gp3", "VolumeSize": wanted["disk_gib"], "Iops": wanted["disk_iops"],
            "Throughput": wanted["disk_mib_a_second"], "DeleteOnTermination": True}
    specifications = [{"ResourceType": kind, "Tags": pairs} for kind in ("instance", "volume", "network-interface")]
    made = ec2.run_instances(
        ImageId=wanted["image"], InstanceType=wanted["machine_type"], MinCount=1, MaxCount=1, EbsOptimized=True,
        NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "DeleteOnTermination": True}],
        IamInstanceProfile={"Name": NAME}, DisableApiTermination=True, UserData="x" * wanted["boot_script_bytes"],
        MetadataOptions={"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}], TagSpecifications=specifications)
    ec2.get_waiter("instance_running").wait(InstanceIds=[made["Instances"][0]["InstanceId"]])

def check():
    """Fails unless everything is there as it was made."""
    only = lambda things, count=1: things if len(things) == count else sys.exit(f"{len(things)} for {count}: {things}")
    vpc = only(ec2.describe_vpcs(Filters=mine)["Vpcs"])[0]["VpcId"]
    assert all(ec2.describe_vpc_attribute(VpcId=vpc, Attribute=f"enableDns{it}")[f"EnableDns{it}"]["Value"] for it in ("Support", "Hostnames"))
    gateway = only(ec2.describe_internet_gateways(Filters=mine)["InternetGateways"])[0]
    assert gateway["Attachments"][0]["VpcId"] == vpc
    subnets = only(ec2.describe_subnets(Filters=mine)["Subnets"], len(wanted["private"] + wanted["public"]))
    assert {it["CidrBlock"] for it in subnets} == {it["range"] for it in wanted["private"] + wanted["public"]}
    only(ec2.describe_addresses(Filters=mine)["Addresses"])
    available = [*mine, {"Name": "state", "Values": ["available"]}]
    nat = only(ec2.describe_nat_gateways(Filters=available)["NatGateways"])[0]["NatGatewayId"]
    tables = only(ec2.describe_route_tables(Filters=mine)["RouteTables"], 2)
    ways_out = {route.get("NatGatewayId") or route.get("GatewayId") for table in tables for route in table["Routes"]}
    assert {nat, gateway["InternetGatewayId"]} <= ways_out
    endpoint = only(ec2.describe_vpc_endpoints(Filters=mine)["VpcEndpoints"])[0]
    assert set(endpoint["RouteTableIds"]) == {it["RouteTableId"] for it in tables}
    group = only(ec2.describe_security_groups(Filters=mine)["SecurityGroups"])[0]
    assert sorted(it["CidrIp"] for it in group["IpPermissions"][0]["IpRanges"]) == sorted(wanted["allow"])
    check_bucket()
    assert iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"] == json.loads(trust)
    assert iam.get_role_policy(RoleName=NAME, PolicyName=NAME)["PolicyDocument"] == may
    assert not iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
    assert iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]["Roles"][0]["RoleName"] == NAME
    running = [*mine, {"Name": "instance-state-name", "Values": ["running"]}]
    machine = only([it for all_ in ec2.describe_instances(Filters=running)["Reservations"] for it in all_["Instances"]])[0]
    assert (machine["InstanceType"], machine["ImageId"]) == (wanted["machine_type"], wanted["image"])
    disk = ec2.describe_volumes(VolumeIds=[machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"][0]
    assert (disk["Size"], disk["Encrypted"]) == (wanted["disk_gib"], True)
    protection = ec2.describe_instance_attribute(InstanceId=machine["InstanceId"], Attribute="disableApiTermination")
    assert protection["DisableApiTermination"]["Value"]

def check_bucket():
    of = {"Bucket": BUCKET}
    assert s3.get_bucket_tagging(**of)["TagSet"]
    assert s3.get_public_access_block(**of)["PublicAccessBlockConfiguration"] == public_access
    assert s3.get_bucket_ownership_controls(**of)["OwnershipControls"]["Rules"][0]["ObjectOwnership"] == "BucketOwnerEnforced"
    assert s3.get_bucket_encryption(**of)["ServerSideEncryptionConfiguration"]["Rules"]
    assert s3.get_bucket_versioning(**of)["Status"] == "Enabled"
    assert json.loads(s3.get_bucket_policy(**of)["Policy"]) == tls_only
    assert len(s3.get_bucket_lifecycle_configuration(**of)["Rules"]) == len(lifecycle["Rules"])
    assert "LoggingEnabled" not in s3.get_bucket_logging(**of)
    for key, content in objects():
        assert s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == len(content)

{"create": create, "check": check}[sys.argv[1]]()
