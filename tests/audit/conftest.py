"""Log directories that many tests of this room read, and a server of S3 with Object Lock."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.audit.building import PQ_VKEY, VKEY, Plan, entries_of, write

KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


@pytest.fixture(scope="session")
def small_log(tmp_path_factory):
    """Three records, two older checkpoints, a proof and a README; small enough to flip every byte."""
    plan = Plan(entries_of(3), older=(0, 2), proofs=(1,), documents={"README": b"read me\n"})
    return write(tmp_path_factory.mktemp("small"), plan.parts())


@pytest.fixture(scope="session")
def middle_log(tmp_path_factory):
    """600 records in three bundles, signed by both kinds of key."""
    plan = Plan(
        entries_of(600),
        older=(0, 1, 255, 256, 257, 512),
        proofs=(0, 255, 256, 599),
        pq=True,
        vkeys=(VKEY, PQ_VKEY),
    )
    return write(tmp_path_factory.mktemp("middle"), plan.parts())


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(s3):
    made = boto3.client("s3", endpoint_url=s3, region_name="us-east-1", **KEYS)
    yield made
    made.close()


@pytest.fixture
def table(s3, client, request, tmp_path):
    """A fresh bucket with Object Lock, as a table of the settings."""
    name = "b" + str(abs(hash(request.node.name)))[:20]
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    (tmp_path / "credentials").write_text("[guard]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    return {
        "bucket": name,
        "endpoint": s3,
        "retention_days": 3650,
        "credentials_file": str(tmp_path / "credentials"),
        "profile": "guard",
    }
