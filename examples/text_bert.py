"""Pre-train a small BERT on plays without labels, and let a few labels put to use what it learnt.

    python examples/text_bert.py              # the plays that ship with it, any CPU, 4 minutes
    python examples/text_bert.py --task play --labels 500,2000

First a network is to guess hidden tokens: read `bert_step`. Then a few passages have labels: verse
or prose? A table compares a network that has read nothing, one that has, and one that stays as it
is behind a prompt that is learnt, by parts of the plays that none of them ever saw.
"""

from collections import Counter, defaultdict

import numpy as np

from tinygan import cli, data, device, grad, kernels, models, ops, optim, random
from tinygan.nn.losses import cross_entropy
from tinygan.optim import schedules
from tinygan.train import Evaluate, loop
from tinygan.train.callbacks import say

STRETCH = 50  # speeches; each fifth stretch of so many is kept from all that learns, to judge by
SHARE = 0.3  # of the tokens are to be guessed; twice what Devlin has, to learn more in a step
PREFIX = 8  # places of the prompt
FROZEN = {"frozen": True, "prefix": PREFIX, "lr": 3e-2}
WAYS = {"from scratch": {"lr": 1e-3}, "pre-trained": {"lr": 1e-3}, "frozen, prompt": FROZEN}
STEPS, ROUNDS, FEW = 60, 2, 16  # it learns for so many steps, or rounds if that is more, of a few
SCHEDULE = schedules.warmup(lambda p: schedules.cosine(p, 0.1), 0.05)


def form(speech):
    """Verse ends its lines early, prose where the page does; None for too few lines to tell."""
    lines = [len(line) for line in speech.words.split("\n")[:-1]]
    return None if len(lines) < 2 else "verse" if np.mean(lines) < 52 else "prose"


TASKS = {"form": form, "play": lambda s: s.play, "speaker": lambda s: f"{s.speaker} in {s.play}"}


def bert_step(bert, batch):
    """One update on a batch of passages, tokens (n, t); this is `bert.step`."""
    # Of each passage some tokens are to be guessed. Most of those are hidden behind a token that
    # says so; a few become any other and a few stay, so that none that it sees is beyond doubt.
    seen, places = bert.hidden(batch)
    # The network sees what is behind a place as well as what is before it, and says a score for
    # each token of the vocabulary, here of those places alone.
    features = bert.network.features(seen)  # (n, t, width)
    scores = bert.network.scores(ops.reshape(features, (batch.size, -1))[places])
    # How unlikely did it think what was there? Its surprise, in nats, is the loss.
    loss = cross_entropy(scores, batch.reshape(-1)[places])
    gradients = grad(loss, bert.optimizer.params)
    optim.clip_grad_norm_(gradients, 1.0)
    bert.optimizer.step(gradients)
    return {"loss": loss.data}


def main():
    args = arguments()
    where = device.resolve(args.device)
    speeches = data.speeches(cli.text_of(args))
    kept = lambda i: i // STRETCH % 5 == 4
    parts = [[s for i, s in enumerate(speeches) if kept(i) is unseen] for unseen in (False, True)]
    tokenizer = cli.tokenizer_of(words(parts[0]), args)
    key = TASKS[args.task]
    names = [name for name, _ in Counter(map(key, speeches)).most_common(9) if name][:8]
    sets = [labelled(part, key, names, tokenizer, args.context) for part in parts]
    say(f"labels: {', '.join(names)}")
    known, unseen = (device.to(tokenizer.encode(words(part)), where) for part in parts)
    random.manual_seed(args.seed)
    chosen = {"share": SHARE, "tokenizer": tokenizer, "device": where}
    chosen |= cli.options(args, "lr", *cli.TEXT) | {"context": args.context + PREFIX}
    new = lambda: cli.built(models.bert, **chosen)
    bert = new()
    sizes = bert.context - 1, args.batch_size, args.seed
    batches, judged = data.Windows(known, *sizes), data.Windows(unseen, *sizes)
    figures = Evaluate(lambda: {"held_out_loss": bert.held_out(judged)})
    options = {"real": None, "schedule": SCHEDULE, "callbacks": [figures]}
    with kernels.precision(args.precision, where):
        cli.run_training(args, bert, batches, step=lambda x: bert_step(bert, x), **options)
        guess(bert, sets[1][0][::50][:4])
        compare(bert, new, sets, args)


def words(speeches):
    """What is said, and neither by whom nor on which lines, which would tell."""
    return " ".join(word for speech in speeches for word in speech.words.split())


def labelled(part, key, names, tokenizer, length):
    """Passages (n, length) of what has each of these keys, as many of each, and which, (n,)."""
    tokens = [tokenizer.encode(words(s for s in part if key(s) == name)) for name in names]
    rows = [own[: len(own) // length * length].reshape(-1, length) for own in tokens]
    least = min(map(len, rows), default=0)
    if len(rows) < 2 or not least:
        raise data.DataError("too little text to tell apart: take plays, or a smaller --context")
    rows = [own[np.linspace(0, len(own) - 1, least).astype(int)] for own in rows]
    return np.concatenate(rows), np.repeat(np.arange(len(names)), least)


def guess(bert, rows):
    """Show what it guesses in the place of every seventh token."""
    say("where a token is hidden, [what it guesses/what was there]:")
    seen, spell = rows.copy(), bert.tokenizer.decode
    seen[:, 3::7] = bert.mask
    for row, found in zip(rows, device.to_host(bert.guess(device.to(seen, bert.device)))):
        pieces = [spell([token]) for token in row]
        pieces[3::7] = [f"[{spell([a])}/{b}]" for a, b in zip(found[3::7], pieces[3::7])]
        say(f"  {''.join(pieces)}")


def compare(bert, new, sets, args):
    """The table: how often is each way right about passages that nobody saw?"""
    (tokens, labels), (unseen, right) = sets
    classes = int(labels.max()) + 1
    say(f"right of {len(unseen)} passages that it never saw (by chance {1 / classes:.1%}):")
    say(f"{'labels':>7}{''.join(f'{way:>18}' for way in WAYS)}")
    for n in map(int, args.labels.split(",")):
        found = defaultdict(list)
        for seed in range(args.seed, args.seed + args.seeds):
            rows = random.permutation(len(tokens), seed, n)[:n]
            for way, options in WAYS.items():
                random.manual_seed(seed)
                body = new() if way == "from scratch" else bert
                learner = models.TextClassifier(body, classes, **options)
                arrays = tuple(device.to(a[rows], learner.device) for a in (tokens, labels))
                batches = data.Batches(arrays, min(FEW, len(rows)), seed, transform=None)
                rate = lambda p: setattr(learner.optimizer, "lr", options["lr"] * SCHEDULE(p))
                rounds = max(ROUNDS, -(-STEPS // len(batches)))
                [*loop(learner, batches, rounds, prepare=[rate])]
                found[way].append((device.to_host(learner.answers(unseen)) == right).mean())
        cells = (f"{np.mean(own):.1%} +- {np.std(own):.1%}" for own in found.values())
        say(f"{len(rows):>7}{''.join(f'{cell:>18}' for cell in cells)}")


def arguments():
    """The command line."""
    parser = cli.Parser("Pre-train a small BERT on plays, and fine-tune it with a few labels.")
    own = {"epochs": 6, "batch_size": 25, "lr": 3e-3}
    parser.training({"bert": 0}, model="bert", pictures=False, out="runs/text_bert", **own)
    parser.text(context=32, width=128, depth=2, heads=4, positions="rotary", vocabulary=2048, **own)
    add, whole = parser.add_argument, cli.number(int, 1)
    counts = lambda text: ",".join(str(whole(n)) for n in text.split(","))
    counts.__name__ = "numbers with commas between"
    add("--task", choices=[*TASKS], default="form", help="what the labels say of a passage")
    add("--labels", type=counts, default="50,200,1000", metavar="N,N", help="so many of them")
    add("--seeds", type=whole, default=3, help="choices of labels in the table")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
