"""Train a small GPT on plays, and let it write: what comes next, token by token.

    python examples/text_gpt.py                 # the plays that ship with it, any CPU, 4 minutes
    python examples/text_gpt.py --prompt "ROMEO:" --temperature 0.7
    python examples/text_gpt.py --data my.txt --tokens characters --width 256 --device gpu

Text is one long row of tokens: here pairs of bytes that occur often, learnt from the text. A
network that sees some of them says how likely each token is to come next. Every token of the text
is a question with its answer, and nobody had to write one down. Read `gpt_step`.
"""

import math

from tinygan import cli, data, device, grad, kernels, models, ops, optim, random
from tinygan.nn.losses import cross_entropy
from tinygan.optim import schedules
from tinygan.train import AtEnd, Callback, Evaluate
from tinygan.train.callbacks import say

EPOCHS = 5
WARMUP = 0.05  # the share of the steps in which the learning rate rises
WRITTEN = 6  # the random stream of what is written
SHOWN, LENGTH = 60, 400  # tokens of it, after each epoch and at the end


def gpt_step(gpt, batch):
    """One update on a batch of windows of the text, tokens (n, t + 1); this is `gpt.step`."""
    seen, wanted = batch[:, :-1], batch[:, 1:]  # each token, and the one that follows it

    # The network says a score for each token of the vocabulary, at all places at once: each place
    # sees itself and what is before it, and nothing of what it is asked for.
    scores = gpt.network(seen)  # (n, t, vocabulary)

    # How unlikely did it think what really came? Its surprise, in nats, is the loss.
    loss = cross_entropy(ops.reshape(scores, (wanted.size, -1)), wanted.reshape(-1))

    gradients = grad(loss, gpt.optimizer.params)
    optim.clip_grad_norm_(gradients, 1.0)  # a rare batch does not throw it far
    gpt.optimizer.step(gradients)
    return {"loss": loss.data}


class Writes(Callback):
    """Shows after each epoch how the model goes on from the prompt, by the same random numbers."""

    def __init__(self, write):
        self.write = write

    def epoch(self, record):
        if self.run.step < self.run.total:
            say(f"  {self.write(SHOWN)!r}")


def main():
    args = arguments()
    where = device.resolve(args.device)
    text = cli.read_text(args)
    random.manual_seed(args.seed)
    chosen = cli.options(args, "lr", *cli.TEXT)
    gpt = cli.built(models.gpt, tokenizer=text.tokenizer, device=where, **chosen)
    known, unseen = (device.to(part, where) for part in (text.known, text.unseen))
    batches = data.Windows(known, gpt.context, args.batch_size, args.seed)
    fewer = max(1, min(args.batch_size, len(unseen) // gpt.context - 1))
    judged = data.Windows(unseen, gpt.context, fewer, args.seed)

    def figures():
        """Of the last tenth of the text, which it does not learn from."""
        loss = gpt.held_out(judged)
        return {"held_out_loss": loss, "bits_per_character": loss / math.log(2) / text.length}

    def write(length):
        """What the model makes of the prompt."""
        how = cli.options(args, *cli.WRITING)
        source = random.Generator(args.seed, WRITTEN)
        return gpt.sample(1, args.prompt, length, source=source, **how)[0]

    write(1)  # a prompt that cannot be read is found before anything is learnt
    schedule = schedules.warmup(lambda p: schedules.cosine(p, 0.1), WARMUP)
    callbacks = [Evaluate(figures), Writes(write), AtEnd(lambda: say(write(args.length)))]
    with kernels.precision(args.precision, where):
        step = lambda batch: gpt_step(gpt, batch)
        options = {"schedule": schedule, "callbacks": callbacks}
        cli.run_training(args, gpt, batches, real=None, step=step, **options)


def arguments():
    """The command line."""
    parser = cli.Parser("Train a small GPT on a text, and let it write.")
    own = {"epochs": EPOCHS, "batch_size": 32, "lr": 3e-3}
    known = {"gpt": models.gpt}
    parser.training(known, model="gpt", pictures=False, out="runs/text_gpt", **own)
    parser.set_defaults(**own)
    parser.text(context=64, width=128, depth=4, heads=4, positions="rotary")
    parser.writing(LENGTH)
    parser.set_defaults(length=LENGTH)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
