"""AWS on loopback for the benches: the tests' mended moto (tests/python/aws_moto.py), whose every call is counted, with
what moto leaves out (quotas, prices, the newest image; as tests/src/aws/overlay.rs).

    python cloud.py PORT        GET /bench/calls -> the calls since the last GET, as JSON: [[seconds, service, operation, mutating]]
                                POST /bench/reset -> moto forgets everything
"""

import io, json, pathlib, runpy, sys, threading, time
from urllib.parse import parse_qs
from moto.backends import get_backend
from moto.moto_api._internal import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

MOTO = pathlib.Path(__file__).parents[1] / "tests/python/aws_moto.py"
IMAGE = "ami-dca37ea5"
READING = ("Describe", "Get", "List", "Head", "GET", "HEAD")
ARN = "arn:aws:servicequotas:us-east-1:123456789012:ec2/"

calls, lock = [], threading.Lock()

def overlay(service, body):
    if service == "servicequotas":
        code = body["QuotaCode"]
        return {"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": code, "QuotaArn": ARN + code,
                          "Value": 1152.0, "Unit": "None", "Adjustable": True, "GlobalQuota": False}}
    if service == "pricing":
        return {"FormatVersion": "aws_v1", "PriceList": []}
    return {"Parameter": {"Name": body["Name"], "Type": "String", "Value": IMAGE, "Version": 1,
                          "DataType": "aws:ec2:image", "LastModifiedDate": 1_790_000_000.5}}

def described(environ):
    """Service, operation and body of a call."""
    credential = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2]
    service = (credential.split("/") + [""] * 4)[3]
    if service == "s3":
        # What of a bucket or object it is about: `PUT ?policy`.
        part = environ.get("QUERY_STRING", "").split("&")[0].split("=")[0]
        return service, f"{environ['REQUEST_METHOD']} ?{part}", b""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    return service, target or parse_qs(body.decode()).get("Action", ["unknown"])[0], body

def answered(start, value):
    start("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
    return [json.dumps(value).encode()]

dispatch = DomainDispatcherApplication.__call__

def counted(self, environ, start):
    path = environ["PATH_INFO"]
    if path == "/bench/calls":
        with lock:
            given, calls[:] = calls[:], []
        return answered(start, given)
    if path == "/bench/reset":
        moto_api_backend.reset()
        # It reads its pictures of AWS again at the first call: not at the cost of whoever makes that.
        for service, region in (("ec2", "us-east-1"), ("iam", "aws")):
            get_backend(service)["123456789012"][region]
        return answered(start, {})
    service, operation, body = described(environ)
    with lock:
        calls.append([time.time(), service, operation, not operation.startswith(READING)])
    if service in ("servicequotas", "pricing", "ssm"):
        return answered(start, overlay(service, json.loads(body)))
    return dispatch(self, environ, start)

DomainDispatcherApplication.__call__ = counted
sys.argv[1:] = ["-H", "127.0.0.1", "-p", sys.argv[1]]
runpy.run_path(str(MOTO), run_name="__main__")
