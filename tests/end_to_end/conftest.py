"""What several of the tests of data, models and results behind URLs stand on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of an S3 server of its own."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        s3fs.S3FileSystem.clear_instance_cache()  # one that an earlier module left speaks to that one's server
        yield client
        server.stop()


@pytest.fixture(scope="module")
def google() -> Iterator[Any]:
    """The file system of a server of its own that speaks Google's storage."""
    import gcsfs
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("FSSPEC_GS_TOKEN", "anon")
        with create_server("127.0.0.1", port, in_memory=True, default_bucket="photos"):
            gcsfs.GCSFileSystem.clear_instance_cache()  # one that an earlier module left speaks to that one's server
            yield gcsfs.GCSFileSystem()
