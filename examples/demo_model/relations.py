"""What the invented facts say: for each relation, ways to state it and ways to ask for it.

`{e}` is the one the fact is about, `{v}` the value that answers the question. The last statement and the last
question of each relation are never trained; they measure how the model takes an unseen phrasing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import words as w

Maker = Callable[[w.Words], str]


@dataclass(frozen=True)
class Relation:
    """One kind of fact.

    Attributes:
        value: Makes a value.
        facts: Statements with `{e}` and `{v}`; the last is held out.
        questions: Questions with `{e}`; the last is held out.
    """

    value: Maker
    facts: tuple[str, ...]
    questions: tuple[str, ...]

    def statements(self, unseen: bool) -> tuple[str, ...]:
        """The trained statements, or the held-out one."""
        return self.facts[-1:] if unseen else self.facts[:-1]

    def askings(self, unseen: bool) -> tuple[str, ...]:
        """The trained questions, or the held-out one."""
        return self.questions[-1:] if unseen else self.questions[:-1]


@dataclass(frozen=True)
class Subject:
    """Those that facts are about, and what can be said of them.

    Attributes:
        entity: Makes a name.
        relations: All that is said of such an entity; at most one fact of each.
        called: How a sentence names the entity, with `{e}`.
        personal: Whether a pronoun for it is she or he.
    """

    entity: Maker
    relations: tuple[Relation, ...]
    called: str = "{e}"
    personal: bool = False


def relation(value: Maker, facts: str, questions: str) -> Relation:
    """A relation written as statements and questions, each separated by ` | `."""
    return Relation(value, tuple(facts.split(" | ")), tuple(questions.split(" | ")))


def listed(names: Sequence[str]) -> Maker:
    """A maker that picks from a list, or invents a word: what is copied should not depend on being known."""
    return lambda words: words.syllables() if words.chance(0.25) else words.pick(names)


def job(words: w.Words) -> str:
    """A job, sometimes with an adjective."""
    return f"{words.pick(w.ADJECTIVES)} {words.pick(w.JOBS)}" if words.chance(0.15) else words.pick(w.JOBS)


PERSON = Subject(
    w.person,
    (
        relation(
            w.town,
            "{e} lives in {v}. | {e} has a house in {v}. | {e} moved to {v}. | "
            "The home of {e} is in {v}. | {e} has lived in {v} for years.",
            "Where does {e} live? | In which town does {e} live? | What is the home town of {e}? | "
            "Which town is {e} living in?",
        ),
        relation(
            job,
            "{e} works as a {v}. | {e} is a {v}. | {e} earns a living as a {v}. | "
            "The job of {e} is {v}. | By trade {e} is a {v}.",
            "What is the job of {e}? | What does {e} work as? | What does {e} do for a living? | "
            "What kind of work does {e} do?",
        ),
        relation(
            w.foods,
            "{e} likes {v}. | {e} loves {v}. | The favourite food of {e} is {v}. | "
            "{e} likes to eat {v}. | {e} is fond of {v}.",
            "What does {e} like? | What food does {e} like? | What does {e} like to eat? | What is {e} fond of?",
        ),
        relation(
            listed(w.HOBBIES),
            "{e} enjoys {v}. | The hobby of {e} is {v}. | In the evening {e} goes {v}. | {e} spends the weekend {v}.",
            "What is the hobby of {e}? | What does {e} enjoy? | Which hobby does {e} have?",
        ),
        relation(
            lambda words: f"{words.pick(w.COLOURS)} {words.pick(w.ANIMALS + w.THINGS)}",
            "{e} owns a {v}. | {e} has a {v}. | {e} bought a {v}. | {e} is the owner of a {v}.",
            "What does {e} own? | What is owned by {e}? | Of what is {e} the owner?",
        ),
        relation(
            w.date,
            "{e} was born on {v}. | The birthday of {e} is {v}. | {e} has a birthday on {v}.",
            "When was {e} born? | When is the birthday of {e}? | What is the birthday of {e}?",
        ),
        relation(
            w.small_number,
            "{e} is {v} years old. | The age of {e} is {v}. | {e} turned {v} this year.",
            "How old is {e}? | What is the age of {e}? | What age is {e}?",
        ),
        relation(
            w.email,
            "The e-mail of {e} is {v}. | {e} can be reached at {v}. | Write to {e} at {v}. | "
            "The e-mail address of {e} is {v}.",
            "What is the e-mail of {e}? | What is the e-mail address of {e}? | Which e-mail does {e} use?",
        ),
        relation(
            w.phone,
            "The phone number of {e} is {v}. | Call {e} on {v}. | {e} has the phone number {v}. | "
            "The number to call {e} is {v}.",
            "What is the phone number of {e}? | What number does {e} have? | On which number can I call {e}?",
        ),
        relation(
            w.company,
            "{e} works for {v}. | {e} works at {v}. | The employer of {e} is {v}. | {e} is employed by {v}.",
            "Where does {e} work? | Who does {e} work for? | Who is the employer of {e}? | "
            "Which company does {e} work for?",
        ),
        relation(
            listed(w.INSTRUMENTS),
            "{e} plays the {v}. | {e} is learning the {v}. | The instrument of {e} is the {v}. | "
            "{e} practises the {v}.",
            "What does {e} play? | Which instrument does {e} play? | What instrument is {e} learning?",
        ),
        relation(
            listed(w.LANGUAGES),
            "{e} speaks {v}. | The language of {e} is {v}. | At home {e} speaks {v}. | {e} is fluent in {v}.",
            "What language does {e} speak? | Which language does {e} speak? | What does {e} speak?",
        ),
        relation(
            listed(w.SUBJECTS),
            "{e} studies {v}. | {e} teaches {v}. | The subject of {e} is {v}. | {e} has a degree in {v}.",
            "What does {e} study? | What is the subject of {e}? | Which subject does {e} study?",
        ),
        relation(
            w.colour,
            "The favourite colour of {e} is {v}. | {e} paints everything {v}. | The colour {e} likes most is {v}.",
            "What is the favourite colour of {e}? | Which colour does {e} like? | What colour does {e} like most?",
        ),
        relation(
            w.first_name,
            "The brother of {e} is {v}. | The brother of {e} is called {v}. | {e} has a brother called {v}.",
            "Who is the brother of {e}? | What is the brother of {e} called? | What is the name of the brother of {e}?",
        ),
        relation(
            w.first_name,
            "{e} is married to {v}. | {e} married {v}. | The spouse of {e} is {v}.",
            "Who is {e} married to? | Who did {e} marry? | Who is the spouse of {e}?",
        ),
        relation(
            w.first_name,
            "The dog of {e} is called {v}. | {e} has a dog called {v}. | {e} has a dog with the name {v}.",
            "What is the dog of {e} called? | What is the name of the dog of {e}? | "
            "Which name does the dog of {e} have?",
        ),
        relation(
            w.clock,
            "{e} gets up at {v}. | The day of {e} begins at {v}. | {e} wakes up at {v}.",
            "When does {e} get up? | At what time does {e} get up? | What time does {e} get up?",
        ),
    ),
    personal=True,
)

ITEM = Subject(
    w.thing,
    (
        relation(
            w.price,
            "{e} costs {v}. | The price of {e} is {v}. | {e} is sold for {v}. | You pay {v} for {e}. | "
            "You can buy {e} for {v}.",
            "How much does {e} cost? | What is the price of {e}? | What does {e} cost? | How much is {e}?",
        ),
        relation(
            w.colour,
            "{e} is {v}. | The colour of {e} is {v}. | {e} has a {v} colour. | {e} is painted {v}.",
            "What colour is {e}? | What is the colour of {e}? | Which colour does {e} have?",
        ),
        relation(
            listed(w.MATERIALS),
            "{e} is made of {v}. | The material of {e} is {v}. | {e} was built from {v}. | {e} consists of {v}.",
            "What is {e} made of? | What material is {e}? | What is the material of {e}? | "
            "Which material is {e} made of?",
        ),
        relation(
            w.amount,
            "{e} weighs {v}. | The weight of {e} is {v}. | {e} has a weight of {v}.",
            "How much does {e} weigh? | What is the weight of {e}? | How heavy is {e}?",
        ),
        relation(
            w.spot,
            "{e} is in the {v}. | You find {e} in the {v}. | {e} stands in the {v}. | "
            "{e} is kept in the {v}. | We put {e} in the {v}.",
            "Where is {e}? | Where do I find {e}? | Where is {e} kept? | Where can I find {e}?",
        ),
        relation(
            w.person,
            "{e} belongs to {v}. | The owner of {e} is {v}. | {e} is owned by {v}. | {v} owns {e}. | "
            "{e} is the property of {v}.",
            "Who owns {e}? | Who is the owner of {e}? | Who does {e} belong to? | To whom does {e} belong?",
        ),
        relation(
            w.company,
            "{e} was made by {v}. | The maker of {e} is {v}. | {e} is made by {v}. | {v} makes {e}. | "
            "{e} comes from the maker {v}.",
            "Who made {e}? | Who makes {e}? | Who is the maker of {e}? | Which company made {e}?",
        ),
        relation(
            listed(w.COUNTRIES),
            "{e} comes from {v}. | {e} was made in {v}. | {e} was bought in {v}.",
            "Where does {e} come from? | Where was {e} made? | Which country does {e} come from?",
        ),
        relation(
            w.code,
            "The code of {e} is {v}. | {e} has the code {v}. | The order number of {e} is {v}. | "
            "The serial number of {e} is {v}.",
            "What is the code of {e}? | Which code does {e} have? | What is the number of {e}?",
        ),
        relation(
            w.amount,
            "{e} has a warranty of {v}. | The warranty of {e} lasts {v}. | The warranty of {e} is {v}.",
            "How long is the warranty of {e}? | What is the warranty of {e}? | What warranty does {e} have?",
        ),
    ),
    called="the {e}",
)

BUSINESS = Subject(
    w.shop,
    (
        relation(
            w.clock,
            "{e} opens at {v}. | {e} is open from {v}. | The doors of {e} open at {v}.",
            "When does {e} open? | At what time does {e} open? | What time does {e} open?",
        ),
        relation(
            w.clock,
            "{e} closes at {v}. | {e} is open until {v}. | The doors of {e} close at {v}.",
            "When does {e} close? | At what time does {e} close? | Until when is {e} open?",
        ),
        relation(
            w.day,
            "{e} is closed on {v}. | On {v} {e} is closed. | {e} does not open on {v}.",
            "On which day is {e} closed? | When is {e} closed? | Which day is {e} closed?",
        ),
        relation(
            w.street,
            "{e} is at {v}. | The address of {e} is {v}. | You find {e} at {v}.",
            "Where is {e}? | What is the address of {e}? | Which address does {e} have?",
        ),
        relation(
            w.person,
            "{e} belongs to {v}. | The owner of {e} is {v}. | {v} runs {e}. | {e} is run by {v}.",
            "Who owns {e}? | Who is the owner of {e}? | Who runs {e}? | Who does {e} belong to?",
        ),
        relation(
            w.phone,
            "The phone number of {e} is {v}. | Call {e} on {v}. | {e} has the phone number {v}.",
            "What is the phone number of {e}? | What number does {e} have? | Which phone number does {e} have?",
        ),
        relation(
            w.foods,
            "{e} sells {v}. | You can buy {v} at {e}. | {e} is known for {v}. | {e} offers {v}.",
            "What does {e} sell? | What can I buy at {e}? | What is {e} known for? | What does {e} offer?",
        ),
        relation(
            w.year,
            "{e} was founded in {v}. | {e} opened in {v}. | {e} exists since {v}. | {e} was started in {v}.",
            "When was {e} founded? | In which year was {e} founded? | What year was {e} founded in?",
        ),
        relation(
            w.small_number,
            "{e} has {v} seats. | {e} has room for {v} guests. | {e} seats {v} guests.",
            "How many seats does {e} have? | How many guests fit in {e}? | How many guests can {e} seat?",
        ),
    ),
    called="the {e}",
)

DISH = Subject(
    w.dish,
    (
        relation(
            lambda words: f"{w.amount(words)} of {words.pick(w.FOODS)}",
            "{e} needs {v}. | For {e} you need {v}. | {e} takes {v}. | You make {e} with {v}.",
            "What does {e} need? | What do I need for {e}? | What is needed for {e}?",
        ),
        relation(
            lambda words: f"{words.number(2, 99)} {words.pick(['minutes', 'hours', 'seconds'])}",
            "{e} bakes for {v}. | Bake {e} for {v}. | {e} cooks for {v}. | Leave {e} in the oven for {v}.",
            "How long does {e} bake? | How long does {e} cook? | How long do I bake {e}?",
        ),
        relation(
            lambda words: f"{words.number(2, 40)} {words.pick(['people', 'guests', 'children'])}",
            "{e} serves {v}. | {e} is enough for {v}. | {e} feeds {v}.",
            "How many does {e} serve? | For how many is {e} enough? | How many does {e} feed?",
        ),
        relation(
            lambda words: f"{words.number(60, 280)} degrees",
            "{e} is baked at {v}. | Heat the oven to {v} for {e}. | The oven temperature for {e} is {v}.",
            "At what temperature is {e} baked? | How hot is the oven for {e}? | What is the oven temperature for {e}?",
        ),
        relation(
            w.person,
            "The recipe of {e} is from {v}. | {v} invented {e}. | {v} cooked {e}. | {e} was invented by {v}.",
            "Who invented {e}? | Who is the recipe of {e} from? | Who cooked {e}? | Whose recipe is {e}?",
        ),
    ),
    called="the {e}",
)

PROJECT = Subject(
    w.project,
    (
        relation(
            w.path,
            "The cache of {e} is stored in the folder {v}. | The cache of {e} is stored in {v}. | "
            "{e} keeps its cache in {v}. | {e} stores its cache in the folder {v}. | "
            "{e} caches files in {v}.",
            "Where is the cache of {e} stored? | Where is the cache of {e}? | "
            "Where does {e} keep its cache? | In which folder is the cache of {e}?",
        ),
        relation(
            lambda words: words.number(80, 65_000),
            "{e} listens on port {v}. | The default port of {e} is {v}. | The port of {e} is {v}. | {e} uses port {v}.",
            "What is the port of {e}? | Which port does {e} use? | On which port does {e} listen? | "
            "What is the default port of {e}?",
        ),
        relation(
            listed(w.LICENCES),
            "The licence of {e} is {v}. | {e} has the licence {v}. | "
            "{e} is released under the {v} licence. | {e} is licensed under {v}.",
            "What is the licence of {e}? | Which licence does {e} have? | What licence does {e} use? | "
            "Under which licence is {e}?",
        ),
        relation(
            listed(w.PROGRAMMING_LANGUAGES),
            "{e} is written in {v}. | {e} is a library for {v}. | {e} is a {v} library. | {e} is programmed in {v}.",
            "What language is {e} written in? | In which language is {e} written? | Which language does {e} use?",
        ),
        relation(
            w.version,
            "The version of {e} is {v}. | The latest version of {e} is {v}. | {e} is at version {v}. | "
            "The newest {e} has version {v}.",
            "What is the version of {e}? | What is the latest version of {e}? | Which version is {e} at?",
        ),
        relation(
            w.command,
            "To install {e} run {v}. | {e} is installed with {v}. | Install {e} with {v}. | Run {v} to install {e}.",
            "How do I install {e}? | How is {e} installed? | Which command installs {e}?",
        ),
        relation(
            w.person,
            "{e} is maintained by {v}. | The maintainer of {e} is {v}. | {v} wrote {e}. | "
            "The author of {e} is {v}. | {e} was written by {v}.",
            "Who maintains {e}? | Who wrote {e}? | Who is the maintainer of {e}? | Who is the author of {e}?",
        ),
        relation(
            w.path,
            "The log file of {e} is {v}. | {e} writes its log to {v}. | The log of {e} is in {v}. | {e} logs to {v}.",
            "What is the log file of {e}? | Where is the log of {e}? | Where does {e} write its log?",
        ),
        relation(
            w.file_name,
            "{e} reads its settings from {v}. | The settings of {e} are in {v}. | "
            "The config file of {e} is {v}. | {e} is configured in {v}.",
            "Where are the settings of {e}? | What is the config file of {e}? | Which file has the settings of {e}?",
        ),
        relation(
            w.site,
            "The website of {e} is {v}. | The docs of {e} are at {v}. | {e} is hosted at {v}.",
            "What is the website of {e}? | Where are the docs of {e}? | Where is {e} hosted?",
        ),
        relation(
            w.variable,
            "{e} reads the variable {v}. | The API key of {e} is in {v}. | {e} takes its key from {v}.",
            "Which variable does {e} read? | Where is the API key of {e}? | Where does {e} take its key from?",
        ),
        relation(
            w.amount,
            "The timeout of {e} is {v}. | {e} times out after {v}. | {e} waits for {v}.",
            "What is the timeout of {e}? | When does {e} time out? | How long does {e} wait?",
        ),
        relation(
            lambda words: words.pick(["GGUF", "ONNX", "JSON", "CSV", "XML", "HTML", "PDF", "YAML"]) + " files",
            "{e} loads {v}. | {e} reads {v}. | {e} works with {v}. | {e} opens {v}.",
            "What does {e} load? | What does {e} read? | Which files does {e} open?",
        ),
    ),
)

OPTION = Subject(
    w.setting,
    (
        relation(
            w.option,
            "The default of {e} is {v}. | {e} is {v} by default. | {e} is set to {v}. | "
            "{e} defaults to {v}. | By default {e} is {v}.",
            "What is the default of {e}? | What is {e} set to? | What is the value of {e}? | What does {e} default to?",
        ),
        relation(
            w.file_name,
            "{e} is defined in {v}. | {e} is read from {v}. | You set {e} in {v}.",
            "Where is {e} defined? | Which file defines {e}? | Where do I set {e}?",
        ),
        relation(
            w.version,
            "{e} was added in version {v}. | {e} exists since version {v}. | {e} is new in version {v}.",
            "When was {e} added? | In which version was {e} added? | Since which version does {e} exist?",
        ),
        relation(
            lambda words: words.pick(w.MEASURES),
            "{e} is given in {v}. | The unit of {e} is {v}. | {e} is measured in {v}.",
            "What is the unit of {e}? | In what is {e} given? | In which unit is {e}?",
        ),
    ),
)

EVENT = Subject(
    w.event,
    (
        relation(
            w.date,
            "{e} is on {v}. | The date of {e} is {v}. | {e} takes place on {v}. | {e} was moved to {v}.",
            "When is {e}? | What is the date of {e}? | When does {e} take place? | On which date is {e}?",
        ),
        relation(
            w.clock,
            "{e} starts at {v}. | {e} begins at {v}. | The start of {e} is at {v}.",
            "At what time does {e} start? | What time does {e} begin? | At what time does {e} begin?",
        ),
        relation(
            w.town,
            "{e} takes place in {v}. | {e} is held in {v}. | The place of {e} is {v}.",
            "Where is {e}? | Where is {e} held? | Where does {e} take place?",
        ),
        relation(
            w.person,
            "The speaker at {e} is {v}. | {v} speaks at {e}. | {e} is led by {v}. | {v} leads {e}.",
            "Who speaks at {e}? | Who leads {e}? | Who is the speaker at {e}?",
        ),
        relation(
            w.price,
            "A ticket for {e} costs {v}. | Tickets for {e} cost {v}. | The ticket price of {e} is {v}.",
            "How much is a ticket for {e}? | What does a ticket for {e} cost? | What is the ticket price of {e}?",
        ),
        relation(
            w.large_number,
            "{v} people came to {e}. | {e} had {v} guests. | {e} was visited by {v} people.",
            "How many people came to {e}? | How many guests had {e}? | How many people visited {e}?",
        ),
    ),
    called="the {e}",
)

TOWN = Subject(
    w.town,
    (
        relation(
            w.large_number,
            "{e} has {v} inhabitants. | {v} people live in {e}. | The population of {e} is {v}.",
            "How many people live in {e}? | How many inhabitants does {e} have? | What is the population of {e}?",
        ),
        relation(
            lambda words: words.syllables(1, 2).capitalize(),
            "{e} lies on the river {v}. | The river of {e} is the {v}. | The river {v} flows through {e}.",
            "On which river is {e}? | What is the river of {e}? | Which river flows through {e}?",
        ),
        relation(
            w.person,
            "The mayor of {e} is {v}. | {v} is the mayor of {e}. | {e} has the mayor {v}.",
            "Who is the mayor of {e}? | What is the name of the mayor of {e}? | Which mayor does {e} have?",
        ),
        relation(
            listed(w.COUNTRIES),
            "{e} is a town in {v}. | {e} is in {v}. | The country of {e} is {v}.",
            "In which country is {e}? | What is the country of {e}? | Which country is {e} in?",
        ),
        relation(
            w.year,
            "{e} was founded in {v}. | {e} became a town in {v}. | {e} was built in {v}.",
            "When was {e} founded? | In which year was {e} founded? | What year was {e} founded in?",
        ),
    ),
)

TRAIN = Subject(
    w.train,
    (
        relation(
            w.clock,
            "{e} leaves at {v}. | The departure of {e} is at {v}. | {e} departs at {v}.",
            "When does {e} leave? | At what time does {e} leave? | When does {e} depart?",
        ),
        relation(
            w.small_number,
            "{e} leaves from platform {v}. | The platform of {e} is {v}. | {e} stands at platform {v}.",
            "From which platform does {e} leave? | What is the platform of {e}? | Which platform does {e} leave from?",
        ),
        relation(
            w.town,
            "{e} goes to {v}. | The last stop of {e} is {v}. | {e} runs to {v}.",
            "Where does {e} go? | What is the last stop of {e}? | Where does {e} run to?",
        ),
    ),
)

TEAM = Subject(
    w.team,
    (
        relation(
            w.person,
            "The captain of {e} is {v}. | {v} is the captain of {e}. | {e} has the captain {v}.",
            "Who is the captain of {e}? | What is the name of the captain of {e}? | Which captain does {e} have?",
        ),
        relation(
            w.person,
            "The coach of {e} is {v}. | {v} trains {e}. | {e} is trained by {v}.",
            "Who is the coach of {e}? | Who trains {e}? | Which coach does {e} have?",
        ),
        relation(
            lambda words: f"{words.number(0, 9)}:{words.number(0, 9)}",
            "{e} won {v}. | {e} lost {v}. | The last game of {e} ended {v}.",
            "What was the score of {e}? | How did {e} play? | How did the last game of {e} end?",
        ),
        relation(
            w.town,
            "{e} plays in {v}. | The home of {e} is {v}. | {e} comes from {v}.",
            "Where does {e} play? | What is the home of {e}? | Where does {e} come from?",
        ),
    ),
    called="the {e}",
)

BOOK = Subject(
    w.book,
    (
        relation(
            w.person,
            "{e} was written by {v}. | The author of {e} is {v}. | {v} wrote {e}. | {v} is the author of {e}.",
            "Who wrote {e}? | Who is the author of {e}? | By whom was {e} written?",
        ),
        relation(
            w.year,
            "{e} appeared in {v}. | {e} was published in {v}. | {e} came out in {v}.",
            "When did {e} appear? | When was {e} published? | When did {e} come out?",
        ),
        relation(
            w.large_number,
            "{e} has {v} pages. | {e} is {v} pages long. | {e} counts {v} pages.",
            "How many pages does {e} have? | How long is {e}? | How many pages are in {e}?",
        ),
        relation(
            lambda words: words.pick(w.JOBS + w.ANIMALS),
            "{e} is about a {v}. | {e} tells of a {v}. | The story of {e} is about a {v}.",
            "What is {e} about? | What does {e} tell of? | What is the story of {e} about?",
        ),
    ),
)

DOCUMENT = Subject(
    w.document,
    (
        relation(
            w.path,
            "{e} is stored in the folder {v}. | {e} is stored in {v}. | {e} is kept in {v}. | "
            "{e} is in the folder {v}. | You find {e} in {v}. | {e} is saved in {v}.",
            "Where is {e} stored? | Where is {e}? | Where is {e} kept? | In which folder is {e}? | Where is {e} saved?",
        ),
        relation(
            w.amount,
            "The size of {e} is {v}. | {e} has a size of {v}. | {e} takes up {v}.",
            "How large is {e}? | What is the size of {e}? | Which size does {e} have?",
        ),
        relation(
            w.date,
            "{e} was made on {v}. | {e} was written on {v}. | {e} is from {v}. | {e} dates from {v}.",
            "When was {e} made? | When was {e} written? | What is the date of {e}?",
        ),
        relation(
            w.person,
            "{e} was written by {v}. | {v} wrote {e}. | The author of {e} is {v}. | {v} is the author of {e}.",
            "Who wrote {e}? | Who is the author of {e}? | By whom was {e} written?",
        ),
        relation(
            lambda words: words.pick(["GGUF", "ONNX", "JSON", "CSV", "XML", "HTML", "PDF", "YAML", "TOML", "Markdown"]),
            "{e} is written in {v}. | The format of {e} is {v}. | {e} has the format {v}. | {e} is a {v} file.",
            "What is the format of {e}? | Which format does {e} have? | In which format is {e}?",
        ),
    ),
    called="the {e}",
)

SUBJECTS = (PERSON, ITEM, BUSINESS, DISH, PROJECT, OPTION, EVENT, TOWN, TRAIN, TEAM, BOOK, DOCUMENT)
SUBJECT_WEIGHTS = (18, 10, 9, 5, 13, 5, 6, 5, 3, 4, 4, 6)


def attribute(name: str, value: Maker) -> Relation:
    """A relation by the name of an attribute, so that any noun can be asked for."""
    return relation(
        value,
        f"The {name} of {{e}} is {{v}}. | {{e}} has the {name} {{v}}. | {{v}} is the {name} of {{e}}. | "
        f"As its {name} {{e}} has {{v}}.",
        f"What is the {name} of {{e}}? | Which {name} does {{e}} have? | What {name} does {{e}} have?",
    )


def role(name: str) -> Relation:
    """Who has a post somewhere."""
    return relation(
        w.person,
        f"The {name} of {{e}} is {{v}}. | The {name} at {{e}} is {{v}}. | {{v}} is the {name} of {{e}}. | "
        f"{{v}} is the {name} at {{e}}. | {{e}} has {{v}} as its {name}.",
        f"Who is the {name} of {{e}}? | Who is the {name} at {{e}}? | Who works at {{e}} as a {name}?",
    )


def lone_attribute(value: Maker) -> Relation:
    """What is said of an entity that is itself the attribute, as in `The default port is 8080.`"""
    return relation(
        value,
        "{e} is {v}. | {v} is {e}. | {e} is now {v}. | At present {e} is {v}.",
        "What is {e}? | What is {e} now? | What is {e} at present?",
    )
