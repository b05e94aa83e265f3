"""A user's program through every public door, for a type checker to read: test_typing.py hands it
over, and nobody runs it.
"""

import numpy as np

import tinygan as tg
from tinygan import Tensor, data, models, nn, ops, optim, train
from tinygan.testing import check_grads, check_module


@tg.primitive
def cube(x):
    return x**3


cube.defvjp(lambda g, out, x: 3 * g * x**2)


def arithmetic(x: Tensor, array: np.ndarray) -> Tensor:
    y: Tensor = 2 * x + array - x / 3 + x**2 - (-x) @ x.T
    y = array * x + (1 - x) + abs(x) + x[0] + x[:, 1:] + x[array > 0]
    positive: np.ndarray = y > 0
    y = y * positive
    y = y.reshape(2, -1).view((4, 1)).transpose(1, 0).flatten(1).squeeze().unsqueeze(dim=0)
    y = y.sum(axis=0).mean(dim=(0, 1), keepdim=True).max(axis=-1, keepdims=True).double()
    y = ops.relu(y) + ops.conv2d(x, array, stride=2, padding=(1, 1)) + ops.softmax(y, dim=1)
    y = y + ops.concatenate([x, y], axis=1) + ops.where(array > 0, x, 0.0) + cube(x)
    raw: np.ndarray = ops.tanh(array)
    number: float = y.item() + float(y) + int(y) + len(y) + y.size
    shape: tuple[int, ...] = y.shape
    return Tensor([number, *shape], name="y") + raw


def gradients(x: Tensor, y: Tensor) -> None:
    one: np.ndarray = tg.grad(y, x)
    several: list[np.ndarray] = tg.grad([y, y.sum()], [x, y])
    tensor: Tensor = tg.grad(y, x, create_graph=True)
    tensors: list[Tensor] = tg.grad(y, [x], [one], create_graph=True)
    unused = tg.grad(y, [x], allow_unused=True)
    y.backward(one)
    with tg.no_grad():
        x.data -= 0.1 * several[0] + (tensor + tensors[0]).numpy()
    assert x.grad is None or unused


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.scale = nn.Parameter(np.ones(width, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale.reshape(-1, 1, 1)


@tg.no_grad()
def predict(net: Net, x: np.ndarray) -> np.ndarray:
    answer: Tensor = net.eval()(Tensor(x))
    return answer.numpy()


def mean_prediction(net: Net, x: np.ndarray) -> float:
    mean: float = predict(net, x).mean()
    return mean


def training(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    net = Net(width=8).double().train()
    optimizer = optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for name, p in net.named_parameters():
        print(name, p.shape, p.dtype)
    loss: Tensor = nn.losses.cross_entropy(net(images), labels)
    loss.backward()
    optim.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    net.zero_grad()
    batches = data.Batches([images, labels], batch_size=128, seed=1)
    records = train.train(models.dcgan(width=8), batches, epochs=1, graph=False)
    digits: data.Pictures = data.load("bundled")
    print(f"{loss:.3f}", records, digits.images.shape)
    return net.state_dict()


def checks(x: np.ndarray) -> None:
    check_grads(cube, x, order=1, rtol=1e-6, skip=["memory"])
    check_grads(np.sin, x, vjp=lambda g, x: g * np.cos(x))
    check_module(nn.Linear(3, 4).double(), x)
