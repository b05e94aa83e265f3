"""The engine: what `grad` returns, what it refuses and what it says, and what it costs in memory.
No operation in particular.
"""

import copy
import gc
import pickle
import subprocess
import sys
import threading
import tracemalloc
import types
import weakref

import numpy as np
import pytest

import tinygan as tg
from tinygan import Tensor, enable_grad, grad, nn, no_grad, ops, primitive
from tinygan.autograd import describe


def leaf(*values, dtype=np.float64, name=None):
    return Tensor(np.array(values, dtype), name=name)


def test_any_order_of_derivative():
    x = leaf(0.5, 2.0)
    y = ops.sum(x**5)
    for power, factor in [(4, 5), (3, 20), (2, 60), (1, 120)]:
        (g,) = grad(y, [x], create_graph=True)
        np.testing.assert_allclose(g.data, factor * x.data**power, rtol=1e-14)
        y = ops.sum(g)
    np.testing.assert_allclose(grad(y, x), [120.0, 120.0], rtol=1e-14)


def test_plain_gradients_are_raw_and_graph_gradients_are_tensors():
    x = leaf(1.0, 2.0)
    y = ops.sum(x * x)
    assert type(grad(y, x)) is np.ndarray and isinstance(grad(y, x, create_graph=True), Tensor)
    assert isinstance(grad(y, [x]), list) and isinstance(grad(y, x), np.ndarray)


def test_shared_and_repeated_paths_add_up():
    x = leaf(3.0)
    y = x * x
    z = y * y + y + x
    np.testing.assert_allclose(
        grad(z, [x, y, x], np.ones(1)), [[4 * 27 + 6 + 1], [2 * 9 + 1], [115.0]]
    )
    assert grad([z, z], x, [np.ones(1), -np.ones(1)]) == 0.0  # several outputs add up


def test_grad_with_respect_to_an_intermediate_and_to_the_output_itself():
    x = leaf(2.0)
    y = x * 3.0
    np.testing.assert_array_equal(grad(y * y, y), [12.0])
    np.testing.assert_array_equal(grad(y, y, np.array([5.0])), [5.0])


def test_only_live_paths_are_visited():
    visited = []

    @primitive
    def spy(x, name):
        return x + 0.0

    def rule(g, out, x, name):
        visited.append(name)
        return g * 1.0

    spy.defvjp(rule)
    a, b = leaf(1.0), leaf(2.0)
    y = spy(spy(a, "a") * spy(b, "b"), "both")
    grad(y, b)
    assert visited == ["both", "b"]


def test_unused_input_is_an_error_that_names_it():
    used, unused = leaf(1.0, name="used"), leaf(1.0, 2.0, name="fc.weight")
    y = ops.sum(used * used)
    with pytest.raises(ValueError, match=r"fc\.weight \(2,\) float64 cpu.*allow_unused"):
        grad(y, [used, unused])
    g, none = grad(y, [used, unused], allow_unused=True)
    assert none is None and g == 2.0


def test_a_path_through_an_argument_without_a_rule_is_no_path():
    @primitive
    def count(x, like):
        return x * 2.0

    count.defvjp(lambda g, out, x, like: g * 2.0)
    x, like = leaf(1.0), leaf(1.0)
    assert grad(count(x, like), [x, like], allow_unused=True)[1] is None


def test_a_call_reached_only_through_such_an_argument_is_skipped():
    @primitive
    def first(x, y):
        return x * 1.0

    first.defvjp(lambda g, out, x, y: g * 1.0)
    x = leaf(2.0)
    np.testing.assert_array_equal(grad(first(x * 3.0, x * x), x), [3.0])


def test_raw_arrays_are_constants_and_record_nothing():
    assert type(ops.exp(np.ones(2))) is np.ndarray
    y = leaf(1.0) * np.array([2.0])
    assert [isinstance(a, Tensor) for a in y.args] == [True, False]


def test_no_grad_leaves_and_nests():
    x = leaf(1.0)
    with no_grad():
        y = x * 2.0
        with no_grad():
            pass
        z = x * 2.0
    assert y.op is None and z.op is None and (x * 2.0).op is not None
    assert no_grad()(lambda: x * 2.0)().op is None


@pytest.mark.parametrize("n", [20_000, 200_000])
def test_deep_chain(n):
    x = leaf(1.0)
    y = x
    for _ in range(n):
        y = y + x
    np.testing.assert_array_equal(grad(y, x), [n + 1.0])
    del y  # a recursive destructor would overflow the stack here


def test_memory_goes_with_the_last_reference():
    gc.disable()
    try:
        x = Tensor(np.ones(10))
        y = ops.sum(ops.tanh(x * x))
        middle = weakref.ref(y.args[0])
        grad(y, x), grad(y, x, create_graph=True), y.backward()
        del y
        assert middle() is None
    finally:
        gc.enable()


def test_backward_frees_cotangents_on_the_way():
    x = Tensor(np.ones(1_000_000))
    y = x
    for _ in range(20):
        y = y + 1.0
    seed = np.ones(1_000_000)
    tracemalloc.start()
    grad(y, x, seed)
    assert tracemalloc.get_traced_memory()[1] < 3 * seed.nbytes
    tracemalloc.stop()


def test_backward_accumulates_in_leaves_only():
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    z = y * y
    z.backward()
    z.backward(np.ones(1))
    np.testing.assert_array_equal(x.grad, [2 * 2 * 6 * 3.0])
    np.testing.assert_array_equal(w.grad, [2 * 2 * 6 * 2.0])
    assert y.grad is None


def test_gradients_share_no_memory():
    x, y, c = leaf(1.0, 2.0), leaf(3.0, 4.0), np.array([5.0, 6.0])
    gx, gy = grad(x + y, [x, y], c)
    assert not np.shares_memory(gx, gy) and not np.shares_memory(gx, c)
    g = grad(ops.sum(x), x)
    g += 1.0  # a broadcast view would be read-only
    assert not np.shares_memory(grad(ops.reshape(x, (2, 1)), x, c.reshape(2, 1)), c)


def test_errors_say_which_rule_and_which_input():
    @primitive
    def wrong_shape(x, y):
        return x * y

    wrong_shape.defvjp(lambda g, out, x, y: g * y, lambda g, out, x, y: g[:1])
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with pytest.raises(ValueError, match="shape and dtype") as caught:
        grad(wrong_shape(a, b), [a, b], np.ones(2))
    assert caught.value.__notes__ == ["in the rule of wrong_shape for argument 1, (2,) float64 cpu"]
    by_numpy = primitive(lambda x: np.tanh(x))
    by_numpy.defvjp(lambda g, out, x: g * (1 - np.tanh(x) ** 2))  # right, but of no second order
    grad(by_numpy(a), a, np.ones(2))
    with pytest.raises(TypeError) as caught:
        grad(by_numpy(a), a, np.ones(2), create_graph=True)
    assert caught.value.__notes__[-1] == "write rules with tinygan.ops, not with NumPy's functions"
    with pytest.raises(ValueError) as caught:
        a + leaf(1.0, 2.0, 3.0)
    assert caught.value.__notes__ == ["in add((2,) float64 cpu, (3,) float64 cpu)"]


def test_errors_say_where_an_array_is():
    foreign = types.SimpleNamespace(shape=(2,), dtype="float32", data=None)
    assert describe(leaf(1.0, 2.0)) == "(2,) float64 cpu" and describe(None) == "None"
    assert describe(np.float32(1)) == "() float32 cpu" and describe(foreign) == "(2,) float32 types"
    with pytest.raises(TypeError, match=r"got \(2,\) float32 types; labels"):
        Tensor(foreign)


def test_a_rule_that_changes_the_dtype_is_refused():
    @primitive
    def promote(x):
        return x * 2

    promote.defvjp(lambda g, out, x: g.astype(np.float64))
    x = leaf(1.0, dtype=np.float32)
    with pytest.raises(ValueError, match="float64"):
        grad(promote(x), x)


@pytest.mark.parametrize(
    "outputs, cotangent, words",
    [
        (leaf(1.0, 2.0), None, "only a scalar needs none"),
        (leaf(1.0, 2.0), np.ones(3), "shape and dtype must agree"),
        (leaf(1.0, 2.0), np.ones(2, np.float32), "shape and dtype must agree"),
        (leaf(1.0), [np.ones(1), np.ones(1)], "1 outputs but 2"),
    ],
)
def test_bad_cotangents(outputs, cotangent, words):
    with pytest.raises(ValueError, match=words):
        grad(outputs, outputs, cotangent)


def test_output_that_is_no_tensor():
    with pytest.raises(TypeError, match="must be a Tensor"):
        grad(np.ones(1), leaf(1.0))


def test_tensor_takes_floats_only_and_keeps_their_dtype():
    assert Tensor([1, 2]).dtype == Tensor(1.0).dtype == np.float32
    assert Tensor(np.float64(1)).dtype == np.float64 and Tensor(np.float64(1)).shape == ()
    with pytest.raises(TypeError, match="labels, indices and masks stay raw"):
        Tensor(np.arange(3))


def test_tensors_do_not_slip_into_numpy():
    x = leaf(1.0, 2.0)
    assert isinstance(np.ones(2) * x, Tensor)
    with pytest.raises(TypeError, match="use tinygan.ops"):
        np.concatenate([x, x])
    with pytest.raises(TypeError):
        np.exp(x)
    np.testing.assert_array_equal(np.asarray(x), x.data)


def test_tensor_shows_itself():
    assert repr(leaf(1.0, name="w")) == "Tensor([1.], w (1,) float64 cpu)"
    assert (
        "multiply" in repr(leaf(1.0) * 2.0) and len(leaf(1.0, 2.0)) == 2 and leaf(4.0).item() == 4.0
    )
    assert float(leaf(4.0)) == 4.0 and leaf(4.0) and not leaf(0.0)
    assert leaf(1.0).detach().op is None and type(leaf(1.0).numpy()) is np.ndarray


def test_a_pickled_model_learns_in_a_new_process(tmp_path):
    for _ in range(1000):
        Tensor([1.0])  # the parameters are older than anything in a new process
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(nn.Linear(3, 1)))
    code = f"""
import pickle, numpy as np
m = pickle.load(open({str(tmp_path / "model.pkl")!r}, "rb"))
m(np.ones((2, 3), np.float32)).sum().backward()
print(m.weight.grad.tolist())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[2.0, 2.0, 2.0]]"


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_copied_graph_keeps_its_order(copied):
    x = leaf(2.0, name="x")
    y = x * x
    z, y2, x2 = copied((y * x + y, y, x))
    assert x2.serial < y2.serial < z.serial and x2.name == "x" and x2 is not x
    np.testing.assert_array_equal(grad(z, [x2, y2]), [[3 * 4 + 2 * 2], [2 + 1]])
    half = copy.deepcopy(y, {id(x): x})  # a copy on top of the original
    np.testing.assert_array_equal(grad(half * half, [x, half]), [[4 * 8], [2 * 4]])


def test_no_grad_is_any_number_of_blocks_at_once():
    x, seen = leaf(1.0), []
    once = no_grad()

    @no_grad()
    def walk(depth):
        seen.append((x * 2).op)
        if depth:
            walk(depth - 1)

    walk(2)
    with once, once:
        seen.append((x * 2).op)
    assert seen == [None] * 4 and (x * 2).op
    inside, outside = threading.Event(), threading.Event()

    def other():
        with once:
            inside.set()
            outside.wait(10)
        seen.append((x * 2).op)

    thread = threading.Thread(target=other)
    with once:
        thread.start()
        inside.wait(10)
    outside.set()
    thread.join()
    assert seen[-1] and (x * 2).op


def test_no_grad_of_a_generator_holds_while_the_generator_runs():
    x, caught = leaf(1.0), []

    @no_grad()
    def steps():
        try:
            while True:
                try:
                    yield (x * 2).op
                except ZeroDivisionError:
                    caught.append((x * 2).op)
        finally:
            caught.append((x * 2).op)

    walk = steps()
    assert next(walk) is None and (x * 2).op and walk.send(1) is None
    assert walk.throw(ZeroDivisionError) is None and (x * 2).op
    walk.close()
    assert caught == [None, None] and list(no_grad()(lambda: iter(()))()) == []

    @no_grad()
    def two():
        yield 1
        return 2

    def outer():
        return (yield from two())

    out = outer()
    assert next(out) == 1
    with pytest.raises(StopIteration) as end:
        next(out)
    assert end.value.value == 2


def test_a_graph_is_made_inside_no_grad_where_it_is_asked_for():
    x = leaf(2.0)
    y = ops.sum(x**3)
    with no_grad():
        slope = grad(y, x, create_graph=True)
        with enable_grad():
            assert (x * 2).op
        assert (x * 2).op is None
    np.testing.assert_array_equal(grad(slope, x, np.ones(1)), [12.0])


def test_what_would_train_nothing_says_so():
    x = leaf(1.0, 2.0, name="x")
    with no_grad():
        lost = ops.sum(x * x)
    for y in lost, x.detach(), x:
        with pytest.raises(ValueError, match="has no graph"):
            y.backward(np.ones(y.shape))
    with pytest.raises(TypeError, match="inputs must be Tensors"):
        grad(ops.sum(x * x), x.data)
    with pytest.raises(AttributeError, match="give the optimizer"):
        x.requires_grad = False
    x.requires_grad = True
    assert x.requires_grad
    with pytest.raises(TypeError, match="ops.stack"):
        Tensor([x, x])
    with pytest.raises(TypeError, match="max= is a Tensor"):
        primitive(lambda a, max: np.minimum(a, max))(x, max=x)
    with pytest.raises(TypeError, match="ops.maximum"):
        x.clip(max=x)
    with pytest.raises(TypeError, match="raw array"):
        ops.astype(x, int)
    ops.sum(x * x).backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_a_tensor_behaves_as_an_array_does():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    assert (x == np.array([1.0, 3.0])).tolist() == [True, False] and (x != x).tolist() == [
        False,
        False,
    ]
    assert {x: 1, y: 2}[x] == 1 and x in {x} and len({x, x, y}) == 2
    np.testing.assert_array_equal(ops.where(x == 1, 5.0, x).data, [5, 2])
    assert [float(e) for e in x] == [1, 2] and sum(x).item() == 3
    for call in (lambda: sum(Tensor(1.5)), lambda: list(Tensor(1.5)), lambda: len(Tensor(1.5))):
        with pytest.raises(TypeError):
            call()
    assert x.size == 2 and x.size() == (2,) and x.size(0) == 2 and x.size(-1) == 2
    assert f"{y:.2f}" == "3.00" and f"{y}" == str(y) and int(y) == 3 and y.numpy().tolist() == [3]


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_leaf_that_holds_what_was_made_of_it_is_copied_first(copied):
    for x in leaf(1.0, 2.0), nn.Parameter(np.array([1.0, 2.0])):
        x.loss = ops.sum(x * x * 3 + x)
        y = copied(x)
        y.loss.backward()
        np.testing.assert_array_equal(y.grad, [7, 13])


def test_sizes_are_copied_and_pickled_as_numbers():
    count = Tensor(np.ones((2, 3))).size
    assert copy.deepcopy({"n": count}) == {"n": 6} and pickle.loads(pickle.dumps(count)) == 6
    pooled = copy.deepcopy(nn.MaxPool2d(2)(leaf(*range(16)).reshape(1, 1, 4, 4)))
    assert pooled.data.tolist() == [[[[5, 7], [13, 15]]]]


def test_rooms_by_attribute():
    for room in "data device metrics models nn optim random testing train".split():
        assert getattr(tg, room).__name__ == f"tinygan.{room}"
    with pytest.raises(AttributeError, match="tinygan has no 'torch'"):
        getattr(tg, "torch")  # noqa: B009


def test_a_hook_has_the_whole_gradient_while_the_walk_goes_on():
    walked = []

    def layer(name):
        @primitive
        def f(x, w):
            return x * w

        def to_w(g, out, x, w):
            walked.append(f"rule of {name}")
            return g * x

        f.defvjp(lambda g, out, x, w: g * w, to_w)
        return f

    def hook(name):
        return lambda g: (walked.append(f"hook of {name}"), 10 * g)[1]

    first, second = layer("first"), layer("second")
    w, v = Tensor(2.0), Tensor(3.0)
    w.hook, v.hook = hook("w"), hook("v")
    y = second(second(first(Tensor(5.0), w), v), v)  # x w v^2
    assert [g.item() for g in grad(y, [w, v])] == [10 * 5 * 9, 10 * 5 * 2 * 2 * 3]
    # v's is whole after both of its calls, and handed over before the walk reaches w
    assert walked == ["rule of second"] * 2 + ["hook of v", "rule of first", "hook of w"]

    walked.clear()
    assert grad(y, w).item() == 450 and walked == [
        "rule of first",
        "hook of w",
    ]  # v is not asked for
    y.backward()
    assert (w.grad.item(), v.grad.item()) == (450, 600)
    assert grad(y, [Tensor(1.0), v], allow_unused=True)[0] is None


def test_a_hook_of_what_gets_no_gradient_is_not_called():
    @primitive
    def masked(x, mask):
        return x * mask

    masked.defvjp(lambda g, out, x, mask: g * mask, None)
    x, mask = Tensor(2.0), Tensor(3.0)
    mask.hook = lambda g: pytest.fail("there is no gradient")
    assert grad(masked(x, mask * 1.0), [x, mask], allow_unused=True)[1] is None
    x.hook, mask.hook = lambda g: g + g, None
    (g,) = grad(masked(x, mask) ** 2, [x], create_graph=True)  # a Tensor, which goes on
    assert g.item() == 2 * 36 and grad(g, mask, allow_unused=True).item() == 2 * 2 * 6
