"""Names and values for invented facts, drawn from word lists, random syllables, numbers and codes.

Every word belongs to one of two disjoint pools: about one in eight, chosen by its checksum, is held out of
training and drawn only when the model is measured.
"""

# ruff: noqa: SIM905 - lists of words are easiest to read, and to extend, as text

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

HELD_OUT_SHARE = 8

FIRST_NAMES = """Mira Anton Bela Carla Dora Emil Frida Goran Hanna Ivo Jana Karl Lena Milan Nora Oskar Paula
Rita Samir Tessa Uma Viktor Wanda Xenia Yusuf Zora Ada Bruno Clara David Elsa Felix Greta Hugo Ines Jonas Kira
Leo Maya Nils Olga Peter Rosa Simon Tilda Ugo Vera Walter Anna Ben Cora Dino Eva Finn Gita Henry Ida Jack Kate
Liam Mona Noah Omar Pia Ralf Sara Tom Ursula Vito Will Alice Bob Carol Dan Erin Frank Grace Heidi Ivan Judy
Laura Marco Nadia Oliver Priya Quentin Rachel Sven Tariq Yara Zoe Ahmed Boris Chen Divya Elena Fatima Hiro Imran
Julia Kofi Lucia Mei Nina Otto Pablo Ravi Sofia Tara Umberto Wei Ali Amara Anders Astrid Bianca Daria Edith
Hector Igor Ingrid Jasper Kamal Leila Magnus""".split()
SURNAMES = """Novak Berg Costa Dahl Egger Fischer Garcia Horn Ibsen Jansen Keller Lind Moreau Nagy Olsen Petrov
Quist Rossi Silva Thorn Ueda Varga Weber Young Zeman Abbott Brandt Carver Drake Evans Fox Grant Hale Irwin Joyce
Kent Lowe Marsh Nash Owen Park Reed Stone Turner Vance Ward Archer Baker Cooper Dyer Fletcher Mason Miller
Potter Sawyer Smith""".split()
ADJECTIVES = """copper wooden small large old new round square heavy light folding silver golden winter summer
garden kitchen desert mountain river striped plain electric paper glass stone woollen leather northern southern
quiet bright dark soft hard long short wide narrow tall""".split()
THINGS = """kettle lamp chair table clock mirror basket blanket ladder drill hammer bicycle backpack tent guitar
camera radio printer monitor keyboard notebook pencil candle bottle mug plate bowl pan oven fridge sofa shelf
carpet curtain pillow umbrella helmet jacket scarf glove boot hat watch ring bracelet vase statue painting piano
violin flute drum kite canoe sledge wagon tractor mower shovel rake bucket rope torch compass telescope
microscope scanner speaker headset charger cable battery toolbox suitcase wallet key stapler whistle
puzzle""".split()
COLOURS = """red blue green yellow black white grey brown orange purple pink turquoise beige crimson violet
maroon teal olive ivory amber indigo scarlet lilac cream navy gold bronze""".split()
MATERIALS = """oak pine steel brass cotton wool silk glass clay rubber plastic bamboo marble granite leather
linen tin copper iron paper wax felt cork concrete aluminium walnut velvet""".split()
FOODS = """bread cheese rice pasta soup honey apples pears plums cherries grapes lemons olives tomatoes onions
carrots potatoes beans lentils mushrooms spinach cabbage pumpkin garlic butter milk yoghurt eggs flour sugar
salt pepper ginger cinnamon chocolate coffee tea juice salmon tuna chicken lamb almonds walnuts raisins dates
figs oats noodles waffles pancakes muffins biscuits sausages pickles""".split()
DISHES = "soup cake pie stew salad bread pudding curry sauce tart".split()
GATHERINGS = "concert workshop meeting lecture festival race party course exam fair".split()
JOBS = """baker nurse teacher carpenter plumber lawyer pilot farmer painter singer dentist librarian gardener
tailor butcher engineer driver sailor printer judge barber chemist surgeon waiter cook clerk guard miner potter
weaver editor translator architect actor dancer mechanic fisherman postman beekeeper locksmith""".split()
HOBBIES = """chess swimming cycling hiking knitting painting fishing sailing cooking climbing skating reading
gardening dancing singing running rowing juggling archery pottery skiing photography origami fencing bowling
surfing camping""".split()
ANIMALS = """cat dog horse parrot rabbit goat donkey turtle hamster canary snake pony duck goose owl ferret
lizard hedgehog sheep cow pig hen fox otter squirrel falcon peacock llama""".split()
INSTRUMENTS = """piano violin flute guitar drums cello harp trumpet clarinet oboe banjo accordion trombone
saxophone mandolin organ bassoon tuba ukulele viola""".split()
LANGUAGES = """Czech Danish Dutch English Finnish French German Greek Hindi Hungarian Icelandic Irish Italian
Japanese Korean Latin Maltese Norwegian Polish Portuguese Romanian Russian Spanish Swahili Swedish Turkish Welsh
Arabic Tamil""".split()
SUBJECTS = """physics biology history law medicine music geography economics chemistry philosophy botany geology
mathematics astronomy architecture linguistics statistics sociology theology zoology drama""".split()
COUNTRIES = """Norway Spain Chile Kenya Japan Peru Egypt Poland Ireland Greece Canada Brazil India Iceland Malta
Cuba Nepal Ghana Finland Portugal Vietnam Mexico Turkey Austria Estonia Morocco Denmark Latvia""".split()
PLACES = """kitchen cellar attic garage hallway bathroom bedroom pantry balcony shed workshop office library
studio nursery laundry conservatory porch greenhouse barn""".split()
HOLDERS = """drawer cupboard box basket cabinet chest jar shelf wardrobe crate locker trunk bag tray
bin""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = "spring summer autumn winter".split()
SHOPS = """bakery bookshop pharmacy cinema museum library bank market hotel theatre gallery garage florist
butcher school clinic gym pool zoo cafe restaurant pub hostel kiosk laundry""".split()
ROADS = "Street Road Lane Avenue Square Alley Way Court".split()
PROGRAMMING_LANGUAGES = """Python Rust Go Java Kotlin Swift Ruby Haskell Scala Perl Julia Lua Elixir Erlang
Fortran Zig C""".split()
LICENCES = "MIT,BSD,Apache-2.0,GPL-3.0,MPL-2.0,ISC,LGPL-2.1,Unlicense,EPL-2.0,CC0,Zlib,BSL-1.0".split(",")
FILE_ENDINGS = "toml json yaml txt log ini cfg csv db xml md conf lock".split()
DOCUMENTS = """cache index log database backup archive key token model report image manual schema list password invoice
photo letter file contract map diary test script tutorial guide plan default setting""".split()
FOLDERS = """~/.cache ~/.config ~/.local/share /var/log /var/lib /etc /opt /srv /tmp /usr/share ~/data
./build""".split()
SETTING_WORDS = """max min top batch cache retry token page line user host port log model index chunk buffer
thread worker queue read write connect idle poll""".split()
SETTING_ENDS = """size limit count timeout delay depth length level rate name mode path interval budget
window""".split()
ATTRIBUTES = """price colour size weight height width depth length age name code number owner origin location
address status version level rank score speed range title category label brand model format purpose grade rating
limit temperature capacity frequency duration deadline budget salary author editor sponsor captain coach leader
manager mascot motto nickname password symbol flavour texture shape pattern source target destination engine
fuel power voltage""".split()
UNITS = "crowns,euros,dollars,pounds,florins,francs,coins,marks".split(",")
MEASURES = """grams kilograms litres metres kilometres centimetres pieces boxes bottles spoons cups slices
minutes hours days weeks months years seconds tokens bytes megabytes degrees percent points people pages guests
rooms seats floors steps""".split()
CONSONANTS = "b c d f g h j k l m n p r s t v w z br dr fl gr kl pr st tr sh th ch".split()
VOWELS = "a e i o u a e i o ai ei ou".split()
CLOSINGS = ["", "", "", "n", "r", "l", "s", "m", "k", "t", "x", "nd", "rk"]
COMPANY_ENDS = "Works Labs Motors Foods Systems Books".split()
TOWN_ENDS = "ville ton burg ford field stad haven bridge port wick mouth dale by".split()


def held_out(text: str) -> bool:
    """Whether this name or value is kept from training; a property of the text alone.

    >>> held_out("Mira"), held_out("Anton")
    (False, False)
    """
    return zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


@dataclass(frozen=True)
class Words:
    """A source of random names and values from one pool.

    Attributes:
        rng: Where the chance comes from; the same state draws the same words.
        unseen: Draw from the held-out pool instead of the training pool.
    """

    rng: Random
    unseen: bool = False

    def draw(self, make: Callable[[], str]) -> str:
        """Call `make` until its text lies in this pool."""
        while held_out(text := make()) != self.unseen:
            pass
        return text

    def pick(self, words: Sequence[str]) -> str:
        """One word of a list; any of its words where none lies in the pool."""
        tries = (self.rng.choice(words) for _ in range(100))
        fitting = (word for word in tries if held_out(word) == self.unseen)
        return next(fitting, None) or self.rng.choice(words)

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self.rng.random() < share

    def syllables(self, least: int = 2, most: int = 3) -> str:
        """An invented lower-case word."""

        def make() -> str:
            count = self.rng.randint(least, most)
            parts = (self.rng.choice(CONSONANTS) + self.rng.choice(VOWELS) for _ in range(count))
            return "".join(parts) + self.rng.choice(CLOSINGS)

        return self.draw(make)

    def number(self, least: int, most: int) -> str:
        """A whole number as text."""
        return self.draw(lambda: str(self.rng.randint(least, most)))

    def digits(self, count: int) -> str:
        """Random digits, leading zeros allowed."""
        return self.draw(lambda: "".join(self.rng.choices("0123456789", k=count)))

    def letters(self, count: int) -> str:
        """Random capitals."""
        return self.draw(lambda: "".join(self.rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=count)))


def role_name(words: Words) -> str:
    """A post that a person has, such as `lighthouse keeper`."""
    if words.chance(0.3):
        place = words.pick(SHOPS + PLACES) if words.chance(0.5) else words.syllables()
        return f"{place} {words.pick(['keeper', 'manager', 'guard', 'owner', 'director', 'cleaner', 'inspector'])}"
    return words.pick(JOBS)


def first_name(words: Words) -> str:
    """A given name, half of the time invented."""
    return words.pick(FIRST_NAMES) if words.chance(0.5) else words.syllables().capitalize()


def person(words: Words) -> str:
    """A person, with or without a surname."""
    if words.chance(0.55):
        return first_name(words)
    surname = words.pick(SURNAMES) if words.chance(0.5) else words.syllables().capitalize()
    return f"{first_name(words)} {surname}"


def town(words: Words) -> str:
    """An invented town."""
    return words.syllables(1, 2).capitalize() + (words.rng.choice(TOWN_ENDS) if words.chance(0.5) else "")


def thing(words: Words) -> str:
    """An object of a house or shop, such as `copper kettle` or `Zanto lamp`."""
    match words.rng.randrange(4):
        case 0:
            return words.pick(THINGS)
        case 1:
            return f"{words.syllables().capitalize()} {words.pick(THINGS)}"
        case _:
            return f"{words.pick(ADJECTIVES)} {words.pick(THINGS)}"


def shop(words: Words) -> str:
    """A business, such as `Luno bakery`; always said with `the`."""
    match words.rng.randrange(3):
        case 0:
            return words.pick(SHOPS)
        case 1:
            return f"{words.pick(ADJECTIVES)} {words.pick(SHOPS)}"
        case _:
            return f"{words.syllables().capitalize()} {words.pick(SHOPS)}"


def company(words: Words) -> str:
    """A company name."""
    name = words.syllables().capitalize()
    return f"{name} {words.pick(COMPANY_ENDS)}" if words.chance(0.4) else name


def project(words: Words) -> str:
    """A software project, such as `velokit`."""
    return words.syllables(1, 3) + words.rng.choice(["", "", "kit", "lib", "py", "db", "-core", "-cli", "ql"])


def setting(words: Words) -> str:
    """A setting of a program, such as `max_retry_count`."""
    first = words.pick(SETTING_WORDS) if words.chance(0.7) else words.syllables()
    return f"{first}_{words.pick(SETTING_ENDS)}"


def document(words: Words) -> str:
    """Something stored on a computer or in a folder, such as `cache` or `monthly report`."""
    match words.rng.randrange(4):
        case 0 | 1:
            return words.pick(DOCUMENTS)
        case 2:
            return f"{words.pick(ADJECTIVES + ATTRIBUTES)} {words.pick(DOCUMENTS)}"
        case _:
            return f"{words.syllables()} {words.pick(DOCUMENTS)}"


def dish(words: Words) -> str:
    """Something to cook, such as `lemon soup`."""
    kind = words.pick(DISHES)
    return f"{words.pick(FOODS) if words.chance(0.5) else words.syllables()} {kind}"


def event(words: Words) -> str:
    """A gathering, such as `Luno concert`."""
    kind = words.pick(GATHERINGS)
    return f"{words.pick(SUBJECTS + HOBBIES) if words.chance(0.5) else words.syllables().capitalize()} {kind}"


def book(words: Words) -> str:
    """A title of two words."""
    first = words.pick(ADJECTIVES)
    second = words.pick(ANIMALS + PLACES) if words.chance(0.6) else words.syllables()
    return f"{first} {second}".title()


def team(words: Words) -> str:
    """A club, such as `Zanto Foxes`."""
    players = ["Foxes", "Lions", "Bears", "Rovers", "United", "Hawks", "Stars"]
    return f"{words.syllables().capitalize()} {words.pick(players)}"


def train(words: Words) -> str:
    """A train or bus line, such as `train 412`."""
    return f"{words.rng.choice(['train', 'bus', 'ferry', 'tram', 'flight'])} {words.number(2, 999)}"


def colour(words: Words) -> str:
    """A colour, sometimes with a shade."""
    name = words.pick(COLOURS)
    return f"{words.rng.choice(['dark', 'light', 'pale', 'bright'])} {name}" if words.chance(0.25) else name


def price(words: Words) -> str:
    """An amount of money."""
    unit = words.pick(UNITS)
    if words.chance(0.3):
        return f"{words.number(1, 99)}.{words.rng.randint(0, 99):02d} {unit}"
    return f"{words.number(2, 2000)} {unit}"


def amount(words: Words) -> str:
    """A number with a unit."""
    return f"{words.number(2, 999)} {words.pick(MEASURES)}"


def small_number(words: Words) -> str:
    """A number below a hundred."""
    return words.number(2, 99)


def large_number(words: Words) -> str:
    """A number of three to six digits."""
    return words.number(100, 999_999 if words.chance(0.3) else 9_999)


def year(words: Words) -> str:
    """A year."""
    return words.number(1700, 2099)


def clock(words: Words) -> str:
    """A time of day."""
    return words.draw(lambda: f"{words.rng.randint(0, 23)}:{words.rng.randrange(0, 60, 5):02d}")


def date(words: Words) -> str:
    """A date in one of three spellings."""
    day, month = words.rng.randint(1, 28), words.rng.choice(MONTHS)
    match words.rng.randrange(3):
        case 0:
            return f"{day} {month} {year(words)}"
        case 1:
            return f"{day} {month}"
        case _:
            return f"{year(words)}-{words.rng.randint(1, 12):02d}-{day:02d}"


def day(words: Words) -> str:
    """A day of the week."""
    return words.pick(DAYS)


def foods(words: Words) -> str:
    """One to three foods."""
    names = [words.pick(FOODS) if words.chance(0.8) else words.syllables() for _ in range(words.rng.randint(1, 3))]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def spot(words: Words) -> str:
    """A place in a house, to follow `in the`."""
    match words.rng.randrange(3):
        case 0:
            return words.pick(PLACES)
        case 1:
            return f"{words.pick(COLOURS)} {words.pick(HOLDERS)}"
        case _:
            return f"{words.pick(PLACES)} {words.pick(HOLDERS)}"


def street(words: Words) -> str:
    """An address."""
    return f"{words.syllables().capitalize()} {words.pick(ROADS)} {words.number(1, 199)}"


def email(words: Words) -> str:
    """An e-mail address."""
    return f"{words.syllables()}@{words.syllables(1, 2)}.{words.rng.choice(['org', 'com', 'net', 'example', 'io'])}"


def phone(words: Words) -> str:
    """A telephone number."""
    start = f"{words.digits(4)}-{words.digits(words.rng.choice([3, 4]))}"
    return f"{start}-{words.digits(2)}" if words.chance(0.4) else start


def code(words: Words) -> str:
    """A code such as `KX-4821`."""
    return f"{words.letters(2)}{words.rng.choice(['-', '', '-', '/'])}{words.digits(words.rng.choice([2, 3, 4]))}"


def path(words: Words) -> str:
    """A file or folder."""
    stem = f"{words.rng.choice(FOLDERS)}/{words.syllables(1, 3)}"
    return f"{stem}.{words.rng.choice(FILE_ENDINGS)}" if words.chance(0.4) else stem


def file_name(words: Words) -> str:
    """A file without its folder."""
    return f"{words.syllables(1, 3)}.{words.rng.choice(FILE_ENDINGS)}"


def version(words: Words) -> str:
    """A version number."""
    return words.draw(lambda: ".".join(str(words.rng.randint(0, 30)) for _ in range(words.rng.choice([2, 3]))))


def site(words: Words) -> str:
    """A web address without its scheme."""
    return f"{words.syllables()}.{words.rng.choice(['org', 'com', 'net', 'dev', 'io'])}"


def option(words: Words) -> str:
    """The value of a setting."""
    match words.rng.randrange(4):
        case 0:
            return words.draw(lambda: f"0.{words.rng.randint(1, 999)}")
        case 1:
            return words.syllables(1, 2)
        case _:
            return words.number(2, 9999)


def variable(words: Words) -> str:
    """An environment variable."""
    return f"{words.syllables(1, 2)}_{words.pick(SETTING_ENDS)}".upper()


def command(words: Words) -> str:
    """A shell command of two or three words."""
    tool = words.pick(["pip", "make", "npm", "cargo", "brew", "apt"])
    return f"{tool} {words.rng.choice(['install', 'run', 'build'])} {words.syllables(1, 3)}"


def anything(words: Words) -> str:
    """A value of any kind."""
    makers = (price, amount, large_number, colour, town, person, code, path, version, small_number, spot, option, date)
    return words.rng.choice(makers)(words) if words.chance(0.6) else words.syllables(1, 3)
