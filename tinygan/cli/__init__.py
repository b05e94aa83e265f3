"""What every command line here shares: the flags of a training run and the run itself; one line and
exit code 2 for a user's mistake.

Only this room knows the flags; it adds them to what the others say.
"""

from ..train.callbacks import say
from .errors import run
from .look import draw_rows, halves, held_out, own_folder
from .parser import (
    DIFFUSION, GAME, MOST_SAMPLES, PASSING, SAMPLING, SIZED, TEXT, WRITING, Parser, number, policy,
)  # fmt: skip
from .samples import learnt, read_samples, save_samples
from .training import bar, built, check_given, fitting, in_words, options, pictures
from .training import run_training, share
from .text import read_text, text_of, tokenizer_of
