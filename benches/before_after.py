"""Two builds of fastsoftmax by turns, call by call: which one is slower, and by how much.

    python -m benches.before_after PYTHON [CASE ...]

PYTHON runs the build that was before, in an environment of its own; the Python that runs this
command has the build after. A case is a call, its shape B x D x K, and options, in one argument:
"step 64x784x90", "epoch 60000x784x10 uint8 numba". Without any, a list of all kinds of calls is
timed, in some three minutes.
"""

import argparse
import sys

from benches.harness.builds import PAIRS, ROUNDS, TOLERANCE, compared, measure
from benches.harness.process import Build
from benches.harness.text import table

CASES = [
    "epoch 60000x784x10",
    "epoch 60000x784x10 uint8",
    "epoch 60000x784x10 1-thread",
    "epoch 60000x784x10 uint8 1-thread",
    "epoch 60000x784x10 momentum",
    "step 256x784x10",
    "step 256x784x10 uint8",
    "step 32x64x3",
    "step 32x784x100",
    "step 1024x768x100",
    "step 256x4096x1000",
    "step 8192x64x16",
    "sgd_step 32x784x10",
    "sgd_step 32x784x10 momentum",
    "sgd_step 32x784x10 weighted",
    "sgd_step 256x784x10",
    "loss_and_grad 256x784x10",
    "loss_and_grad 256x784x10 grad_input",
    "loss_and_grad 20000x784x10",
    "evaluate 10000x784x10",
    "evaluate 10000x784x10 uint8",
    "predict_logits 10000x784x10",
    "softmax 512x16x100",
    "log_softmax 512x16x100",
    "cross_entropy 512x16x100",
    "cross_entropy 512x16x100 weighted",
    "linear_cross_entropy 256x784x10",
    "linear_cross_entropy_grad 32x784x10",
    "linear_cross_entropy_grad 256x784x10",
    "linear_cross_entropy_grad 256x784x10 grad_input",
    "train 70000x784x10 uint8",
    "train 1000x20x3",
    "epoch 60000x784x10 numba",
    "epoch 60000x784x10 uint8 numba",
    "step 256x784x10 numba",
    "epoch 6000x784x10 numpy",
    "fastsoftmax.torch 256x784x10",
    "F.linear_cross_entropy 256x784x10",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", metavar="PYTHON", help="of the build before")
    parser.add_argument("cases", metavar="CASE", nargs="*", default=CASES)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each pair of processes")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()

    times, failed = measure(
        Build(arguments.before), Build(), arguments.cases, arguments.pairs, arguments.rounds
    )
    rows, slower = [], []
    for case, pairs in times.items():
        cells, verdict = compared(pairs)
        rows.append([case, *cells])
        if verdict == "slower":
            slower.append(case)
    print(table(["call", "before", "after", "after ÷ before", "of the pairs", ""], rows))
    print(f"\nslower by more than {TOLERANCE:.0%}: {', '.join(slower) or 'none'}")
    if failed:
        sys.exit(f"failed, in one of the builds: {', '.join(failed)}")


if __name__ == "__main__":
    main()
