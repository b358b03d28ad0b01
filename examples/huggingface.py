"""Continue a text with a transformers model, and look at what it might have said instead.

python examples/huggingface.py FOLDER_OR_NAME ["some text"]
"""

import math
import sys

import chainkit


def main(name: str, text: str) -> None:
    model = chainkit.llm(f"hf:{name}", max_tokens=30)
    session = model.session(text)
    print(f"After {text!r}:")
    for score in session.next_tokens(5):
        print(f"  {math.exp(score.logprob):6.1%} {score.text!r}")
    print("It goes on:", end=" ")
    for chunk in model.stream(text):
        print(chunk, end="", flush=True)
    print()
    print(f"{session.counters.read} tokens were read for the first, and none of them again for the second.")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "Paris is the city of")
