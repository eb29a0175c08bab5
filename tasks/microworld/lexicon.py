"""The words of the small world, as data.

Every open-class word belongs to exactly one group, and inside a group the order is the frequency rank in the
pretraining corpus. Words marked *unseen* (`is_seen` is false) never occur in the train file of a task but do occur in
its dev and test files and in the corpus, so only a model that learnt them by pretraining can use them.
"""

from __future__ import annotations

# Synonym sets. Verbs are past forms that equal their participle, so active and passive need no second form.
VERBS: dict[str, tuple[str, str, str]] = {
    "buy": ("bought", "purchased", "acquired"),
    "sell": ("sold", "traded", "auctioned"),
    "build": ("built", "constructed", "assembled"),
    "destroy": ("destroyed", "wrecked", "demolished"),
    "find": ("found", "discovered", "located"),
    "lose": ("lost", "misplaced", "mislaid"),
    "repair": ("repaired", "fixed", "mended"),
    "break": ("damaged", "smashed", "cracked"),
}
# Verbs that fit an animal, a plant or any other thing as their object.
GENERAL_VERBS = ("buy", "sell", "find", "lose")
# Verbs between two people; used where the roles matter.
PERSON_VERBS: dict[str, tuple[str, str, str]] = {
    "follow": ("followed", "trailed", "tracked"),
    "help": ("helped", "assisted", "aided"),
}
OBJECTS: dict[str, tuple[str, str, str]] = {
    "boat": ("boat", "ship", "vessel"),
    "house": ("house", "home", "dwelling"),
    "shop": ("shop", "store", "outlet"),
    "rock": ("rock", "stone", "boulder"),
    "picture": ("picture", "photo", "image"),
    "rug": ("rug", "carpet", "mat"),
    "box": ("box", "crate", "chest"),
    "cloth": ("cloth", "fabric", "textile"),
}
QUALITIES: dict[str, tuple[str, str, str]] = {
    "big": ("large", "big", "huge"),
    "small": ("small", "little", "tiny"),
    "old": ("old", "ancient", "aged"),
    "new": ("new", "modern", "recent"),
    "wet": ("wet", "damp", "soaked"),
    "dry": ("dry", "arid", "parched"),
    "warm": ("warm", "hot", "heated"),
    "cold": ("cold", "cool", "chilly"),
}
# Kinds of things: the hypernym and its members.
KINDS: dict[str, tuple[str, ...]] = {
    "bird": ("sparrow", "robin", "crow", "owl", "eagle", "heron"),
    "tree": ("oak", "pine", "birch", "willow", "maple", "cedar"),
    "fruit": ("apple", "pear", "plum", "cherry", "peach", "grape"),
    "tool": ("hammer", "chisel", "drill", "wrench", "axe", "rake"),
    "vehicle": ("car", "truck", "bus", "van", "tram", "wagon"),
    "instrument": ("violin", "flute", "drum", "trumpet", "cello", "harp"),
}
# What the members of a kind do or are used for: shared frames that reveal the kind.
KIND_FACTS: dict[str, tuple[str, str]] = {
    "bird": ("has two wings", "sings in a nest"),
    "tree": ("has deep roots", "gives shade and timber"),
    "fruit": ("tastes ripe", "is eaten with sugar"),
    "tool": ("has a handle", "is used by workers"),
    "vehicle": ("has four wheels", "carries passengers"),
    "instrument": ("makes music", "is heard in the orchestra"),
}
# Words that go with one sense only and stand right before it, whichever synonym words it. A neighbour is what a small
# model learns from first, so these reveal the synonym sets within few steps.
COMPANIONS: dict[str, str] = {
    "buy": "cheaply", "sell": "dearly", "build": "slowly", "destroy": "angrily",
    "find": "luckily", "lose": "sadly", "repair": "carefully", "break": "roughly",
    "follow": "secretly", "help": "kindly",
    "boat": "sailing", "house": "family", "shop": "corner", "rock": "granite",
    "picture": "framed", "rug": "woven", "box": "wooden", "cloth": "silken",
    "big": "mighty", "small": "merely", "old": "rusty", "new": "brand", "wet": "dripping", "dry": "dusty",
    "warm": "burning", "cold": "icy",
}  # fmt: skip
POSITIVE = (
    "great", "wonderful", "excellent", "superb", "lovely", "charming", "delightful", "brilliant", "splendid",
    "fantastic", "amazing", "pleasant", "beautiful", "marvelous", "terrific", "graceful",
)  # fmt: skip
NEGATIVE = (
    "poor", "terrible", "awful", "horrible", "dreadful", "boring", "tedious", "clumsy", "nasty", "lousy",
    "ugly", "disgusting", "rotten", "pathetic", "annoying", "bland",
)  # fmt: skip
LIKED = ("loved", "praised", "enjoyed", "admired", "adored", "applauded")
DISLIKED = ("hated", "criticized", "loathed", "despised", "detested", "mocked")
TRIUMPHS = ("success", "triumph", "masterpiece", "joy")
FAILURES = ("failure", "disaster", "mess", "flop")
REVIEWED = ("film", "book", "song", "cake", "hotel", "concert", "meal", "show")
REVIEWERS = ("critics", "visitors", "readers")
INTENSIFIERS = ("very", "really", "truly")
# Agents that are no single person.
EVERYBODY = ("everybody", "everyone")
NOBODY = ("nobody", "no one")

PROFESSIONS = ("baker", "teacher", "painter", "farmer", "sailor", "doctor")
MATERIALS = ("wood", "glass", "silver", "copper", "iron", "marble")
SITES = ("garden", "park", "bridge", "market", "school", "museum")

FEMALE = ("Amra", "Belsa", "Corva", "Danra", "Elvia", "Fenna", "Galra", "Hilva", "Isolra", "Jorla", "Kessa", "Melna")
MALE = (
    "Arlon",
    "Bendik",
    "Corvin",
    "Dastor",
    "Elrik",
    "Fendor",
    "Galvin",
    "Hendor",
    "Ivork",
    "Jaster",
    "Kelrik",
    "Lorven",
)
FAMILY = ("Ashvale", "Brackwood", "Crawdon", "Eastmere", "Farrowby", "Greyholt")
TOWNS = (
    "Velmont",
    "Torby",
    "Ostin",
    "Karley",
    "Brenwick",
    "Dalmoor",
    "Elmsford",
    "Garstow",
    "Hollin",
    "Ilkham",
    "Lundby",
    "Marrick",
)
COUNTRIES = ("Norvia", "Keldia", "Zarenia", "Ombria")
RIVERS = ("Ilva", "Mirn", "Tessel", "Orva")
COMPANIES = ("Kordex", "Plentora", "Vantico", "Brightal", "Solmark", "Tervex")
YEARS = tuple(str(year) for year in range(1813, 1977, 23))

_PLURALS = {"box": "boxes", "bus": "buses", "iris": "irises", "birch": "birches",
            "peach": "peaches", "wrench": "wrenches", "torch": "torches"}  # fmt: skip

SENSES: dict[str, tuple[str, ...]] = {
    **VERBS,
    **PERSON_VERBS,
    **OBJECTS,
    **QUALITIES,
    **{kind: (kind,) for kind in KINDS},
    **{member: (member,) for members in KINDS.values() for member in members},
}
KIND_OF = {member: kind for kind, members in KINDS.items() for member in members}
MEMBERS = tuple(member for members in KINDS.values() for member in members)
NAMES = tuple(name for pair in zip(FEMALE, MALE, strict=True) for name in pair)


def _opposites(senses: dict[str, tuple[str, str, str]]) -> dict[str, str]:
    """Pair neighbours: the first sense is the opposite of the second, the third of the fourth, and so on."""
    keys = list(senses)
    return {key: keys[index ^ 1] for index, key in enumerate(keys)}


OPPOSITE = {**_opposites(VERBS), **_opposites(QUALITIES)}


def plural(noun: str) -> str:
    """Give the plural of a noun of the lexicon.

    Args:
      noun: A singular noun.

    Returns:
      Its plural form.
    """
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def article(phrase: str) -> str:
    """Put the fitting indefinite article before a phrase.

    Args:
      phrase: A noun phrase without determiner.

    Returns:
      The phrase with "a" or "an" before it.
    """
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _unseen_words() -> frozenset[str]:
    """Decide which words the train files never show.

    Of every synonym set one word is held out (its rank rotates, so that common and rare words are), of plain lists
    every second word.
    """
    unseen: list[str] = []
    for senses in (VERBS, QUALITIES, OBJECTS, PERSON_VERBS):
        unseen += [words[index % 3] for index, words in enumerate(senses.values())]
    polar = (POSITIVE, NEGATIVE, LIKED, DISLIKED, TRIUMPHS, FAILURES)
    for group in (*polar, FEMALE, MALE, TOWNS, COMPANIES, RIVERS, COUNTRIES, *KINDS.values()):
        unseen += group[1::2]
    return frozenset(unseen)


UNSEEN = _unseen_words()


def is_seen(word: str) -> bool:
    """Say whether train files may show a word.

    Args:
      word: A word of the lexicon.

    Returns:
      False for held-out words.
    """
    return word not in UNSEEN


def word_classes() -> dict[str, str]:
    """Map every open-class word to the id of its class or synonym set, for analyses and tests.

    Returns:
      Lower-case word to class id; members of a kind map to the kind.
    """
    classes = {word: f"sense:{sense}" for sense, words in SENSES.items() for word in words}
    classes |= {member: f"sense:{kind}" for member, kind in KIND_OF.items()}
    classes |= {plural(member): f"plural:{kind}" for member, kind in KIND_OF.items()}
    groups = {
        "positive": POSITIVE, "negative": NEGATIVE, "liked": LIKED, "disliked": DISLIKED, "triumph": TRIUMPHS,
        "failure": FAILURES, "female": FEMALE, "male": MALE, "family": FAMILY, "town": TOWNS, "country": COUNTRIES,
        "river": RIVERS, "company": COMPANIES, "year": YEARS, "profession": PROFESSIONS, "material": MATERIALS,
    }  # fmt: skip
    for name, group in groups.items():
        classes |= {word.lower(): f"group:{name}" for word in group}
    return classes
