"""A convolution below a network, trained by the gradient of the network's loss.

The network learns online. Its gates always see the pixels.
"""

import torch
from torch import nn

from gln.mnist import load_mnist
from gln.torch_layer import GLNLayer

x, y, x_test, y_test = map(torch.as_tensor, load_mnist(deskew=False))
x, y = x[:10000], y[:10000]


def accuracy(p):  # on the 10,000 test digits
    return f"{(p.argmax(dim=1) == y_test).float().mean():.3f}"


def on_features(rate):
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 8, 5, stride=2)
    image, pool = nn.Unflatten(1, (1, 28, 28)), nn.MaxPool2d(2)
    features = nn.Sequential(image, conv, nn.ReLU(), pool, nn.Flatten())
    layer = GLNLayer([16, 1], 288, 784, num_classes=10, seed=0)
    optimiser = torch.optim.Adam(conv.parameters(), lr=rate)
    for pixels, labels in zip(x.split(32), y.split(32), strict=True):
        z = features(pixels)
        p = layer(z, pixels)  # (32, 10), one-vs-rest
        targets = nn.functional.one_hot(labels, 10).float()
        loss = nn.functional.binary_cross_entropy(p, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        layer.learn(z, labels, pixels)
    with torch.no_grad():
        return accuracy(layer(features(x_test), x_test))


on_pixels = GLNLayer([16, 1], 784, 784, num_classes=10, seed=0)
on_pixels.learn(x, y)
print("accuracy on pixels:", accuracy(on_pixels(x_test)))
print("on random features:", on_features(rate=0))
print("on trained features:", on_features(rate=0.003))
