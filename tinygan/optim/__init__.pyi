"""What a type checker may take from `optim`: the names that `__init__.py` imports, said to be
meant for others.
"""

from . import schedules as schedules
from .algorithms import SGD as SGD
from .algorithms import Adam as Adam
from .algorithms import AdamW as AdamW
from .algorithms import RMSprop as RMSprop
from .clip import clip_grad_norm_ as clip_grad_norm_
from .clip import clip_grad_value_ as clip_grad_value_
from .ema import EMA as EMA
from .more import ASGD as ASGD
from .more import Adadelta as Adadelta
from .more import Adagrad as Adagrad
from .more import Adamax as Adamax
from .more import NAdam as NAdam
from .more import RAdam as RAdam
from .optimizer import Optimizer as Optimizer
from .optimizer import ParameterGroup as ParameterGroup
