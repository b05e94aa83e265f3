"""Optimizers, and what goes with them: clipping, schedules of the learning rate, averages.

All of it works on arrays, in place, and knows nothing of graphs. What changes from step to step
lies on the parameters' device, so that a captured GPU step counts by itself and can be told a new
learning rate. `algorithms` has the optimizers that are used most, `more` the others.
"""

from ..ops.methods import missing as _missing
from . import schedules
from .algorithms import SGD, Adam, AdamW, RMSprop
from .clip import clip_grad_norm_, clip_grad_value_
from .ema import EMA
from .more import ASGD, Adadelta, Adagrad, Adamax, NAdam, RAdam
from .optimizer import Optimizer, ParameterGroup


def __getattr__(name):
    _missing(__name__, name, globals())
