"""The examples of docs/use-the-kernel.md, each run in a Python of its own."""

import importlib.util
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "use-the-kernel.md"
EXAMPLES = dict(re.findall(r"## (.+?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL))

# Each must end with this: the accuracy shows that it has learnt
CHECKS = {
    "A NumPy loop": "assert model.score(x, y) > 0.98",
    "A PyTorch module": "assert accuracy > 0.98 and torch.equal(linear.weight, net.head.weight)",
    "A linear probe": "assert accuracy == result.history.test_accuracy[-1] > 0.8; "
    "assert set(result.model.predict(embeddings[:100])) <= set(names); "
    "assert np.allclose(logits.detach(), model.decision_function(embeddings[:3]), atol=1e-4)",
}


def test_there_are_three():
    assert EXAMPLES.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_example(name, run_python):
    code = EXAMPLES[name]
    if "torch" in code and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    result = run_python(f"{code}\n{CHECKS[name]}")
    assert result.returncode == 0, result.stderr
