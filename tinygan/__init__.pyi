"""What a type checker knows of `import tinygan as tg`."""

from . import data as data
from . import device as device
from . import io as io
from . import latents as latents
from . import metrics as metrics
from . import models as models
from . import nn as nn
from . import ops as ops
from . import optim as optim
from . import parallel as parallel
from . import random as random
from . import refine as refine
from . import testing as testing
from . import train as train
from .autograd import Tensor as Tensor
from .autograd import grad as grad
from .autograd import primitive as primitive
from .recording import enable_grad as enable_grad
from .recording import no_grad as no_grad

__version__: str
