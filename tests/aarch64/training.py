"""Train ConvNet1 on some digits, and predict others with each instruction set."""

import numpy as np

import convnet
from convnet import _kernels

images, labels, *test = convnet.load_mnist()
data, statistics = convnet.preprocess(images[:1100], labels[:1100], *test, num_validation=100, num_test=200)
model = convnet.ConvNet1(hidden_size=50)
model.statistics = statistics
solver = convnet.Solver(model, data, convnet.Adam(0.001), batch_size=20, epochs=2)
solver.train()

expected = None
for name in _kernels.INSTRUCTION_SETS:
    _kernels.use_instruction_set(name)
    scores = model.scores(data["x_test"])
    accuracy = np.mean(scores.argmax(axis=1) == data["y_test"])
    print(f"{name}: {accuracy:.1%} of {len(scores)} test digits")
    assert accuracy > 0.75
    expected = scores if expected is None else expected
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)
