"""The signature of a request as Amazon's own library makes it: the request as JSON on standard input."""
import base64, hashlib, json, sys
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

asked = json.load(sys.stdin)
body = asked["body"].encode()
all_headers = asked["headers"]
signed = all_headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
headers = {name: all_headers[name] for name in signed}
assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
if body:
    assert headers["content-md5"] == base64.b64encode(hashlib.md5(body).digest()).decode()
request = AWSRequest(method=asked["method"], url=asked["url"], data=body, headers=headers)
request.context["timestamp"] = headers["x-amz-date"]
auth = S3SigV4Auth(Credentials(asked["key"], asked["secret"]), "s3", asked["region"])
print(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
