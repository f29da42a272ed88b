"""What examples/train.py does, in PyTorch, but for its figures: to be timed beside it.

pip install ".[benchmark]"
python benchmarks/examples.py train train_pytorch --seeds 0
"""

import argparse
import copy

import numpy as np
import torch
from torch import nn

import convnet

BATCH, EPOCHS, RATE, DECAY, L2 = 50, 10, 0.1, 0.8, 1e-4


def make_model():
    """Return ConvNet1 with He-normal weights, in the layout of images that PyTorch is faster with."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 7, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6272, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model.to(memory_format=torch.channels_last)


def accuracy(model, x, labels):
    """Return the fraction of right predictions."""
    with torch.inference_mode():
        right = sum(int((model(x[i : i + 100]).argmax(1) == labels[i : i + 100]).sum()) for i in range(0, len(x), 100))
    return right / len(x)


def main():
    """Train, test and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    torch.manual_seed(parser.parse_args().seed)
    data, _ = convnet.preprocess(*convnet.load_mnist(), num_test=None)
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array, None if name.startswith("x") else np.int64))
        for name, array in data.items()
    }
    x, labels = tensors["x_train"], tensors["y_train"]
    model = make_model()
    weights = [param for param in model.parameters() if param.ndim > 1]
    biases = [param for param in model.parameters() if param.ndim == 1]
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": L2}, {"params": biases}], lr=RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, DECAY)
    criterion = nn.CrossEntropyLoss()
    checked = torch.randperm(len(x))[:1000]
    best_accuracy, best = -1.0, {}
    for epoch in range(EPOCHS):
        for chosen in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            criterion(model(x[chosen]), labels[chosen]).backward()
            optimizer.step()
        schedule.step()
        train = accuracy(model, x[checked], labels[checked])
        validation = accuracy(model, tensors["x_validation"], tensors["y_validation"])
        print(f"epoch {epoch + 1}: training accuracy {train:.2%}, validation accuracy {validation:.2%}", flush=True)
        if validation > best_accuracy:
            best_accuracy, best = validation, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    test = accuracy(model, tensors["x_test"], tensors["y_test"])
    print(f"test accuracy {test:.2%} on {len(tensors['x_test'])} images")
    torch.save(model.state_dict(), "model.pt")


if __name__ == "__main__":
    main()
