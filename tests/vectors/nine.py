"""The nine sentences of the design: three travel goods, three kitchen goods, three kinds of books."""

NINE = [
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
