"""Where a model fits, before anything is loaded: `python examples/sizing.py [model.gguf]`."""

from __future__ import annotations

import sys
from pathlib import Path

from chainkit.sizing import PIS, Use, gguf_model, judge, this_machine

DEMO = Path(__file__).parent / "demo_model" / "demo-q8_0.gguf"


def main() -> None:
    model = gguf_model(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
    print(f"{model.name}: {model.parameters / 1e6:.1f} M parameters, {model.weight_bytes / 1e6:.1f} MB of weights")
    for machine in [this_machine(), *PIS.values()]:
        verdict = judge(model, machine, Use(context=2048))
        print(f"{machine.name:22} needs {verdict.plan.needed / 1e6:8.0f} MB: {verdict}")


if __name__ == "__main__":
    main()
