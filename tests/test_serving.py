"""The service of docs/serving.md, under load."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_files import write_photographs

import convnet
from convnet.models.default_layers import default_layers

PAGE = Path(__file__).parent.parent / "docs" / "serving.md"


def trained(folder):
    """Return a model of photographs in folders, and the files of some of them."""
    write_photographs(folder)
    (folder / "disc" / "disc 0.jpg").unlink()  # the broken one
    parts = convnet.split(convnet.load_folder(folder, size=16)["train"], validation=0.2)
    data, statistics = convnet.preprocess_parts(parts)
    names = parts["train"].class_names
    rng = np.random.default_rng(0)
    model = convnet.Sequential(default_layers((3, 16, 16), len(names), rng), (3, 16, 16))
    model.statistics, model.class_names = statistics, names
    convnet.Solver(model, data, convnet.Momentum(0.01), epochs=2).train()
    return model, sorted(folder.rglob("*.*"))


def post(url, content):
    """Return the status and the answer to an upload."""
    boundary = "convnet-boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The model, the files of images, and the address of the service."""
    folder = tmp_path_factory.mktemp("service")
    model, files = trained(folder / "photos")
    convnet.save_model(model, folder / "model.npz")
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    (folder / "serve.py").write_text(program)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "serve:app", "--workers", "2", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    with urllib.request.urlopen(f"{address}/health", timeout=5):
                        break
                except OSError:
                    assert process.poll() is None, process.stderr.read().decode()
                    time.sleep(0.1)
            yield model, files, address
        finally:
            process.terminate()
            process.communicate()


@pytest.mark.slow
def test_two_hundred_requests_at_a_time_are_answered_as_alone(service):
    model, files, address = service
    contents = [path.read_bytes() for path in files[:200]]
    assert len(contents) == 200
    expected = []
    for content in contents:
        names, probabilities = model.classify([content])
        expected.append(
            {"name": names[0], "probabilities": dict(zip(model.class_names, probabilities[0].tolist(), strict=True))}
        )
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda content: post(f"{address}/classify", content), contents))
    assert [status for status, _ in answers] == [200] * 200
    assert [answer for _, answer in answers] == expected
    assert len({answer["name"] for answer in expected}) > 1


@pytest.mark.slow
def test_an_upload_that_is_no_image_is_refused(service):
    from PIL import Image

    _, files, address = service
    file = io.BytesIO()
    Image.new("L", (20_000, 20_000)).save(file, "PNG")
    whole = files[0].read_bytes()
    for content, message in (
        (b"no image", "image"),
        (b"", "image"),
        (whole[: len(whole) // 2], "image"),
        (file.getvalue(), "at most 100,000,000 pixels"),
    ):
        status, answer = post(f"{address}/classify", content)
        assert status == 400
        assert message in answer["detail"]
    assert post(f"{address}/classify", bytes(10_000_001))[0] == 413
    with urllib.request.urlopen(f"{address}/health", timeout=60) as answer:
        assert json.load(answer) == {"version": convnet.__version__, "threads": 1}
