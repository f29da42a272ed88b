"""The export of a model as a page: what the file holds, and what is refused; the other files open it in a browser."""

import copy
import json
import re
import threading
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest

import convnet
from convnet import Affine, ReLU, Sequential, Statistics, webpage


def content_of(path):
    """Return what a page holds of its model."""
    return json.loads(re.search(r'id="model">(.*?)</script>', path.read_text("utf-8"))[1])


def halves_of(encoded):
    return np.frombuffer(b64decode(encoded["data"]), "<f2").astype(np.float64).reshape(encoded["shape"]), encoded[
        "scale"
    ]


def test_a_model_that_reads_little_offers_samples_of_all_classes(tmp_path, mnist):
    model = Sequential([Affine(784, 10, rng=np.random.default_rng(0))], (1, 28, 28))
    model.params["affine1.weight"][:] = 0
    model.params["affine1.bias"][4] = 1
    model.statistics = convnet.preprocess(*mnist, num_test=100)[1]
    webpage.export(model, tmp_path / "page.html", samples=(mnist[2][:200], mnist[3][:200]))
    content = content_of(tmp_path / "page.html")
    offered = [(sample["name"], sample["misread"]) for sample in content["samples"]]
    assert offered[:10] == [(str(label), label != 4) for label in range(10)]
    assert [misread for _, misread in offered[10:]] == [True]
    assert len({sample["image"]["data"] for sample in content["samples"]}) == 11


def test_offers_what_is_read_rightly_of_each_class_and_one_that_is_not(tmp_path):
    model = Sequential([Affine(2, 2, rng=np.random.default_rng(0))], (2,))
    model.params["affine1.weight"][:] = np.eye(2)
    x, labels = np.array([[1, 2], [3, 1], [2, 1], [1, 3], [1, 4], [4, 1]]), np.array([0, 0, 0, 0, 1, 1])
    webpage.export(model, tmp_path / "page.html", samples=(x, labels))
    content = content_of(tmp_path / "page.html")
    images = [np.frombuffer(b64decode(sample["image"]["data"]), "<f4").tolist() for sample in content["samples"]]
    assert images == [[3, 1], [1, 4], [1, 2]]
    assert [sample["misread"] for sample in content["samples"]] == [False, False, True]


def test_offers_twelve_of_many_classes(tmp_path, rng):
    model = Sequential([Affine(5, 30, rng=rng)], (5,))
    webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((90, 5)), np.arange(90) % 30))
    assert len(content_of(tmp_path / "page.html")["samples"]) == 12


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.policy, self.inline = [], None, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.found += [(tag, name) for name in attributes if name in ("src", "href", "srcset", "action")]
        self.inline += [name for name in attributes if name.startswith("on") or name == "style"]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]


def test_one_file_that_needs_no_other(page_file):
    text = page_file.read_text("utf-8")
    assert page_file.stat().st_size < 10_000_000
    links = Links()
    links.feed(text)
    assert links.found == links.inline == []
    digest = "'sha256-[A-Za-z0-9+/]{43}='"
    policy = f"default-src 'none'; script-src {digest}; style-src {digest}; base-uri 'none'; form-action 'none'"
    assert re.fullmatch(policy, links.policy)
    assert re.findall(r"https?://", text) == []


def test_says_what_half_precision_costs(page_file, convnet1, mnist):
    content = content_of(page_file)
    right = np.mean(convnet1.predict_images(mnist[2]) == mnist[3])
    stated = re.search(r"changes the label of ([\d,]+) of 10,000 examples; ([\d.]+)% of them", content["cost"])
    assert int(stated[1]) <= 20
    assert float(stated[2]) == pytest.approx(100 * right, abs=0.1)


class Doubled(ReLU):
    pass


def small(layer=None, input_shape=(1, 8, 8)):
    rng = np.random.default_rng(0)
    features = int(np.prod(input_shape))
    return Sequential([layer or ReLU(), Affine(features, 10, rng=rng)], input_shape)


def with_statistics(model):
    model.statistics = Statistics(model.input_shape, True, None, None)
    return model


@pytest.mark.parametrize(
    ("model", "samples", "error", "message"),
    [
        (small(Doubled()), None, TypeError, "layer relu1 to be one of Conv2D, .*got Doubled"),
        (small(), None, ValueError, r"expected samples.*got input \(1, 8, 8\) and no statistics"),
        (
            with_statistics(small(input_shape=(1, 5, 6))),
            None,
            ValueError,
            r"7x7 pixels or more.*\(1, 5, 6\) and statistics",
        ),
        (
            with_statistics(small()),
            (np.zeros((4, 8, 8)), [0] * 4),
            TypeError,
            "export: samples: images: expected images of dtype uint8",
        ),
        (with_statistics(small()), (np.zeros((4, 8, 9), np.uint8), [0] * 4), ValueError, "export: samples: .* shape"),
        (small(), 3, TypeError, "pair of images and labels, got int"),
        (
            small(),
            (np.zeros((4, 8, 8)), np.zeros(4, int)),
            ValueError,
            r"\(N, 1, 8, 8\), as .* no statistics .* got \(4, 8, 8\)",
        ),
        (
            small(),
            (np.zeros((0, 1, 8, 8)), np.zeros(0, int)),
            ValueError,
            r"at least one sample, got shape \(0, 1, 8, 8\)",
        ),
        (small(), (np.zeros((4, 1, 8, 8)), np.zeros(3, int)), ValueError, r"labels of shape \(4,\)"),
        (small(), (np.zeros((4, 1, 8, 8)), np.full(4, 10)), ValueError, r"labels in \[0, 10\)"),
        (small(), (np.full((4, 1, 8, 8), np.nan), np.zeros(4, int)), ValueError, "finite samples"),
    ],
)
def test_refuses(tmp_path, model, samples, error, message):
    with pytest.raises(error, match=message):
        webpage.export(model, tmp_path / "page.html", samples)
    assert list(tmp_path.iterdir()) == []


def test_refuses_parameters_that_are_no_numbers(tmp_path):
    model = small()
    model.params["affine1.weight"][3, 3] = np.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in affine1.weight"):
        webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))


def test_says_that_scores_of_another_loss_are_no_probabilities(tmp_path, rng):
    for loss, said in ((convnet.softmax_loss, False), (convnet.svm_loss, True)):
        model = Sequential([Affine(64, 10, rng=rng)], (1, 8, 8), loss=loss)
        webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))
        assert ("They rank the classes" in content_of(tmp_path / "page.html")["about"]) == said


def test_refuses_samples_whose_scores_are_no_numbers(tmp_path, rng):
    model = Sequential([Affine(64, 2, rng=rng), Affine(2, 10, rng=rng)], (1, 8, 8))
    model.params["affine1.weight"][:] = 1e38
    model.params["affine2.weight"][:] = [[1], [-1]]
    with pytest.raises(ValueError, match=r"^export: samples: predict: expected scores, got NaN"):
        webpage.export(model, tmp_path / "page.html", (np.full((1, 1, 8, 8), 1e10), [0]))


def test_refuses_a_class_with_scores_of_its_own(tmp_path, rng):
    class Opposite(Sequential):
        def scores(self, x, *, workspace=None):
            return -super().scores(x)

    class Plain(Sequential):
        pass

    inputs = np.zeros((2, 1, 8, 8)), np.zeros(2, int)
    with pytest.raises(TypeError, match="not Opposite's own"):
        webpage.export(Opposite([Affine(64, 10, rng=rng)], (1, 8, 8)), tmp_path / "page.html", inputs)
    webpage.export(Plain([Affine(64, 10, rng=rng)], (1, 8, 8)), tmp_path / "page.html", inputs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", ["max", "tiny"])
def test_the_largest_and_the_smallest_numbers_of_a_dtype_are_exported(tmp_path, dtype, number):
    model = Sequential([Affine(64, 10, rng=np.random.default_rng(0), dtype=dtype)], (1, 8, 8))
    value = getattr(np.finfo(dtype), number)
    model.params["affine1.weight"][:] = 0
    model.params["affine1.weight"][:2] = value
    webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))
    halves, scale = halves_of(content_of(tmp_path / "page.html")["layers"][0]["weight"])
    np.testing.assert_allclose(halves[:2] * scale, value, rtol=2**-11)
    assert not halves[2:].any()


def test_numbers_of_very_different_sizes_keep_their_precision(tmp_path):
    model = Sequential([Affine(64, 10, rng=np.random.default_rng(0))], (1, 8, 8))
    small = np.logspace(-8, 0, 640).reshape(64, 10).astype(np.float32)
    model.params["affine1.weight"][:] = small
    webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))
    halves, scale = halves_of(content_of(tmp_path / "page.html")["layers"][0]["weight"])
    np.testing.assert_allclose(halves * scale, small, rtol=2**-11, atol=2**-41)


def test_a_loss_that_cannot_be_copied_is_not_needed(tmp_path, rng):
    class Loss:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, scores, labels):
            return convnet.softmax_loss(scores, labels)

    model = Sequential([Affine(64, 10, rng=rng)], (1, 8, 8), loss=Loss())
    webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))


def test_refuses_statistics_of_another_size(tmp_path, mnist):
    model = small()
    vars(model)["statistics"] = convnet.preprocess(*mnist, num_test=100)[1]  # past the check
    with pytest.raises(ValueError, match=r"statistics of images of shape \(1, 8, 8\)"):
        webpage.export(model, tmp_path / "page.html")


def test_a_missing_folder_leaves_nothing(tmp_path, convnet1):
    with pytest.raises(FileNotFoundError, match="none"):
        webpage.export(convnet1, tmp_path / "none" / "page.html")


def test_digits_are_offered_to_models_of_digits_alone(tmp_path, convnet1):
    model = copy.copy(convnet1)
    for names, offered in ((list("0123456789"), True), (["shirt", *"123456789"], False)):
        model.class_names = names
        webpage.export(model, tmp_path / "page.html")
        assert ('"samples":[]' not in (tmp_path / "page.html").read_text()) == offered


def test_statistics_of_another_kind_are_refused(tmp_path, rng):
    class Halved:
        def apply(self, images):
            return np.asarray(images, np.float32) / 2

    model = Sequential([Affine(5, 3, rng=rng)], (5,))
    model.statistics = Halved()
    with pytest.raises(TypeError, match="export: expected statistics from preprocess, got"):
        webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((3, 5)), [0, 1, 2]))
