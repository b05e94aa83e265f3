"""The adversarial family beside PyTorch, if installed: objectives and penalties with their gradient
for every weight, and whole steps of every member. In float64, to 1e-10 of the largest number.
"""

import functools
import inspect

import numpy as np
import pytest

from tinygan import Tensor, grad, nn, random
from tinygan.models.adversarial import LOSSES, adversarial
from tinygan.nn import adversarial as objectives
from tinygan.nn import losses

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the arrays are tiny
F = torch.nn.functional
N = 6


class TheirDeviation(torch.nn.Module):
    """`nn.MinibatchStdDev`, by PyTorch's own variance."""

    def __init__(self, group_size=None):
        super().__init__()
        self.group_size = group_size

    def forward(self, x):
        size = self.group_size or len(x)
        y = x.view(size, -1, *x.shape[1:])
        number = y.var(0, correction=0).add(1e-8).sqrt().flatten(1).mean(1)
        number = number.repeat(size).view(-1, *[1] * (x.ndim - 1))
        return torch.cat([x, number.expand(-1, 1, *x.shape[2:])], 1)


class Of:
    """The layers of one library by the same names: Of(nn) or Of(torch.nn)."""

    def __init__(self, library):
        self.ours, self.theirs = library is nn, library

    def __getattr__(self, name):
        return getattr(self.theirs, name)

    def spectral_norm(self, layer):
        return nn.spectral_norm(layer) if self.ours else torch.nn.utils.spectral_norm(layer)

    def MinibatchStdDev(self, *args):
        return nn.MinibatchStdDev(*args) if self.ours else TheirDeviation(*args)


def convolution(m, channels=1):
    return [m.Conv2d(channels, 3, 4, 2, 1), m.LeakyReLU(0.2), m.Conv2d(3, 4, 2), m.Softplus()], 16


def layer_norm(m):
    layers = [m.Conv2d(1, 3, 4, 2, 1), m.LayerNorm((3, 3, 3)), m.Tanh(), m.Conv2d(3, 4, 2)]
    return [*layers, m.LayerNorm((4, 2, 2)), m.LeakyReLU(0.2)], 16


def spectral(m):
    layers, features = convolution(m)
    return [m.spectral_norm(a) if "Conv" in type(a).__name__ else a for a in layers], features


def minibatch(m):
    layers = [m.MinibatchStdDev(2), m.Conv2d(2, 3, 4, 2, 1), m.Tanh(), m.MinibatchStdDev()]
    return layers, 36


def everything(m):
    first, second = m.spectral_norm(m.Conv2d(1, 3, 4, 2, 1)), m.spectral_norm(m.Conv2d(3, 4, 2))
    layers = [first, m.LayerNorm((3, 3, 3)), m.LeakyReLU(0.2), second, m.MinibatchStdDev(3)]
    return [*layers, m.Tanh(), m.MinibatchStdDev()], 24


CRITICS = convolution, layer_norm, spectral, minibatch, everything


def network(m, layers, features):
    """A discriminator (n, 1, 6, 6) -> (n, 1), in float64."""
    return m.Sequential(*layers, m.Flatten(), m.Linear(features, 1)).double()


def generator(m):
    """(n, 3) -> (n, 1, 6, 6), in float64."""
    layers = m.Linear(3, 18), m.Tanh(), m.Unflatten(1, (2, 3, 3))
    return m.Sequential(*layers, m.ConvTranspose2d(2, 1, 4, 2, 1)).double()


def give(theirs, ours):
    """PyTorch's network with the state of ours."""
    state = {name: torch.tensor(a) for name, a in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


def networks(build):
    """A discriminator and a generator of each library, in training mode, with weights larger than
    first ones.
    """
    random.manual_seed(1)
    ours = network(Of(nn), *build(Of(nn))), generator(nn)
    for p in [*ours[0].parameters(), *ours[1].parameters()]:
        p.data[...] += 0.5 * random.default.normal(p.shape)
    theirs = network(Of(torch.nn), *build(Of(torch.nn))), generator(torch.nn)
    return ours, tuple(map(give, theirs, ours))


def close(ours, theirs, rtol=1e-10):
    """Each array to rtol of the largest number in it."""
    for a, b in zip(ours, theirs, strict=True):
        b = b.detach().numpy()
        assert a.shape == b.shape and np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


def same(loss, other, net, its):
    """A loss and its gradient for every weight of a network. What biases cannot change, as a
    penalty the last ones, has none or zeros.
    """
    close([loss.data], [other])
    ours, theirs = net.named_parameters(), [*its.named_parameters()]
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    found = grad(loss, [p for _, p in ours], allow_unused=True)
    expected = torch.autograd.grad(other, [p for _, p in theirs], allow_unused=True)
    assert sum(g is not None and bool(g.any()) for g in expected) >= len(theirs) - 2
    for (_, p), a, b in zip(ours, found, expected):
        a = np.zeros(p.shape) if a is None else a
        close([a], [torch.zeros(p.shape, dtype=torch.float64) if b is None else b])


def bce(scores, target):
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def their_relativistic(fake, real):
    return F.softplus(fake - real).mean()


def their_square(x, target):
    return ((x - target) ** 2).mean() / 2


THEIRS = {  # D's loss of scores of fakes and reals, G's of those of its fakes, in PyTorch
    "minimax": (lambda f, r: bce(r, 1.0) + bce(f, 0.0), lambda f, r: -bce(f, 0.0)),
    "non_saturating": (lambda f, r: bce(r, 1.0) + bce(f, 0.0), lambda f, r: bce(f, 1.0)),
    "least_squares": (
        lambda f, r: their_square(r, 1) + their_square(f, 0),
        lambda f, r: their_square(f, 1),
    ),
    "hinge": (lambda f, r: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda f, r: -f.mean()),
    "wasserstein": (lambda f, r: f.mean() - r.mean(), lambda f, r: -f.mean()),
    "relativistic": (their_relativistic, lambda f, r: their_relativistic(r, f)),
}


def their_penalty(scores, x):
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return (slope**2).sum() / len(x)


def their_gradient_penalty(critic, real, fake, mix):
    mix = mix.view(-1, 1, 1, 1)
    x = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (((slope**2).sum((1, 2, 3)) + 1e-12).sqrt() - 1).square().mean()


def pictures(n=N):
    return np.random.default_rng(2).standard_normal((n, 1, 6, 6))


@pytest.mark.parametrize("build", CRITICS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", THEIRS)
def test_objectives(name, build):
    """Both losses; D's gradient for D's weights, G's for G's through D."""
    (D, G), (theirs, its) = networks(build)
    objective, (d_loss, g_loss) = getattr(losses, name), THEIRS[name]
    z, real = np.random.default_rng(3).standard_normal((N, 3)), pictures()
    t, fake, their_fake = torch.tensor(real), G(z), its(torch.tensor(z))
    close([fake.data], [their_fake])
    same(
        objective(D(fake.data), D(real)), d_loss(theirs(their_fake.detach()), theirs(t)), D, theirs
    )
    scores, their_scores = (D(fake), D(real)), (theirs(their_fake), theirs(t))
    pair = scores[::-1] if name == "relativistic" else scores[:1]
    same(objective(*pair), g_loss(*their_scores), G, its)


@pytest.mark.parametrize("build", CRITICS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["gradient penalty", "R1", "R2"])
def test_penalties(name, build):
    (D, G), (theirs, its) = networks(build)
    z = np.random.default_rng(3).standard_normal((N, 3))
    fake, real, mix = G(z).data, pictures(), np.linspace(0, 0.9, N)
    if name == "gradient penalty":
        own = losses.gradient_penalty(D, real, fake, mix)
        other = their_gradient_penalty(theirs, *map(torch.tensor, (real, fake, mix)))
    else:  # by the scores that the objective has, too
        x = Tensor(real if name == "R1" else fake)
        t = torch.tensor(x.data, requires_grad=True)
        scores, their_scores = D(x), theirs(t)
        own = losses.relativistic(scores, D(real)) + losses.zero_centred_penalty(scores, x)
        other = their_relativistic(their_scores, theirs(torch.tensor(real)))
        other = other + their_penalty(their_scores, t)
    same(own, other, D, theirs)


class Twin:
    """The step of a member in PyTorch, with the draws of tinygan."""

    def __init__(self, gan, D, G, objective, **options):
        self.D, self.G = give(D, gan.discriminator), give(G, gan.generator)
        self.d_loss, self.g_loss = THEIRS[objective]
        self.options = {"n_critic": 1, "packing": 1, "r1": 0, "r2": 0, "smoothing": 0} | options
        self.source = random.Generator(5)
        self.optimizers = [
            torch.optim.Adam(net.parameters(), lr, (0.5, 0.999), 1e-3)
            for net, lr in ((self.D, options.get("d_lr", 0.01)), (self.G, 0.01))
        ]

    def scores(self, x):
        packing = self.options["packing"]
        return self.D(x.reshape(len(x) // packing, packing, *x.shape[2:]))

    def loss_of_d(self, fake, real):
        o = self.options
        fake, real = fake.detach().requires_grad_(), real.clone().requires_grad_()
        f, r = self.scores(fake), self.scores(real)
        loss = self.d_loss(f, r)
        if o["smoothing"]:
            loss = bce(r, 1 - o["smoothing"]) + bce(f, 0.0)
        loss = loss + o["r1"] / 2 * their_penalty(r, real) + o["r2"] / 2 * their_penalty(f, fake)
        if "gp" in o:
            mix = torch.tensor(self.source.uniform((len(real),)))
            loss = loss + o["gp"] * their_gradient_penalty(self.scores, real, fake, mix)
        return loss

    def step(self, batch):
        d_optimizer, g_optimizer = self.optimizers
        for real in torch.tensor(batch).chunk(self.options["n_critic"]):
            fake = self.G(torch.tensor(self.source.normal((len(real), 3), np.float64)))
            d_loss = self.loss_of_d(fake, real)
            d_optimizer.zero_grad()
            d_loss.backward()
            d_optimizer.step()
            if "clip" in self.options:
                for p in self.D.parameters():
                    p.data.clamp_(-self.options["clip"], self.options["clip"])
        # the relativistic game calls D of real samples first: spectral norm counts calls
        relativistic = self.g_loss is THEIRS["relativistic"][1]
        r = self.scores(real) if relativistic else None
        g_loss = self.g_loss(self.scores(fake), r)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        self.source.next_step()
        return d_loss, g_loss


MEMBERS = {  # a member by name and its options; the objective, and what PyTorch's step must know
    "non-saturating": ({}, "non_saturating", {}),
    "minimax": ({}, "minimax", {}),
    "least-squares": ({}, "least_squares", {}),
    "hinge": ({}, "hinge", {}),
    "wgan": ({"clip": 0.2}, "wasserstein", {"clip": 0.2}),
    "wgan-gp": ({}, "wasserstein", {"gp": 10}),
    "r3gan": ({}, "relativistic", {"r1": 1, "r2": 1}),
    "r3gan, spectral": ({"spectral": True, "r2": 0.3}, "relativistic", {"r1": 1, "r2": 0.3}),
    "hinge, spectral": ({"spectral": True}, "hinge", {}),
    "r3gan, everything": ({}, "relativistic", {"r1": 1, "r2": 1}),
    "non-saturating, smoothed": (
        {"smoothing": 0.1, "d_lr": 0.003},
        "non_saturating",
        {"smoothing": 0.1, "d_lr": 0.003},
    ),
    "minimax, packed": ({"packing": 2}, "minimax", {"packing": 2}),
    "wgan-gp, n_critic": ({"n_critic": 2}, "wasserstein", {"gp": 10, "n_critic": 2}),
    "least-squares, R1": ({"r1": 0.7}, "least_squares", {"r1": 0.7}),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_three_steps_are_pytorchs(name):
    options, objective, known = MEMBERS[name]
    build = functools.partial(convolution, channels=options.get("packing", 1))
    build = everything if "everything" in name else build
    random.manual_seed(5)
    D, G = network(Of(nn), *build(Of(nn))), generator(nn)
    gan = adversarial(G, D, 3, loss=name.split(",")[0], lr=0.01, **options)
    gan.noise = lambda n: random.default.normal((n, 3), np.float64)
    for optimizer in gan.optimizers:
        # a bias that does not matter has gradient 0: do not blow up its rounding
        optimizer.param_groups[0]["eps"] = 1e-3
    theirs = network(torch.nn, *build(Of(torch.nn)))
    if "spectral" in options:
        wrapped = [Of(torch.nn).spectral_norm(m) if hasattr(m, "weight") else m for m in theirs]
        theirs = torch.nn.Sequential(*wrapped)
    twin = Twin(gan, theirs, generator(torch.nn), objective, **known)
    random.manual_seed(5)
    for i in range(3):
        batch = pictures(12) + i
        found = gan.step(batch)
        random.default.next_step()
        close(found.values(), twin.step(batch))
        for net, its in (gan.discriminator, twin.D), (gan.generator, twin.G):
            close(net.state_dict().values(), its.state_dict().values())


def test_every_objective_and_member_is_tried():
    own = {n for n, f in vars(objectives).items() if inspect.isfunction(f)}
    names = {n for n in own if vars(objectives)[n].__module__ == objectives.__name__}
    assert names == {*THEIRS, "gradient_penalty", "zero_centred_penalty"}
    assert {name.split(",")[0] for name in MEMBERS} == {*LOSSES}
