"""Ambiguous class names for text-to-image models, and prompts that settle them.

The paper's four (apple, beetle, orange, ray) are among them. Readings that no image shows, such as
verbs, are left out.
"""

SENSES: dict[str, dict[str, str]] = {
    "apple": {"the fruit": "apple fruit", "the company": "Apple computer"},
    "bank": {"of a river": "river bank", "for money": "bank building"},
    "bass": {"the fish": "bass fish", "the instrument": "bass guitar"},
    "bat": {"the animal": "bat animal", "the club": "baseball bat"},
    "beetle": {"the insect": "beetle insect", "the car": "beetle car"},
    "bolt": {"for a nut": "metal bolt", "of lightning": "lightning bolt"},
    "bow": {"the weapon": "archery bow", "the knot": "ribbon bow"},
    "bowl": {"the dish": "bowl dish", "the stadium": "stadium bowl"},
    "boxer": {"the dog": "boxer dog", "the athlete": "boxer athlete"},
    "can": {"the container": "tin can"},
    "cardinal": {"the bird": "cardinal bird", "the cleric": "catholic cardinal"},
    "caterpillar": {"the insect": "caterpillar insect larva", "the machine": "caterpillar machine"},
    "chest": {"the box": "wooden chest", "of a body": "human chest"},
    "club": {"the stick": "golf club", "for dancing": "night club"},
    "cobra": {"the snake": "cobra snake", "the car": "cobra car"},
    "crane": {"the bird": "crane bird", "the machine": "construction crane"},
    "cricket": {"the insect": "cricket insect", "the sport": "cricket match"},
    "date": {"the fruit": "date fruit", "of a calendar": "calendar date"},
    "drill": {"the tool": "power drill", "the monkey": "drill monkey"},
    "falcon": {"the bird": "falcon bird", "the jet": "falcon jet"},
    "fan": {"the machine": "electric fan", "the supporter": "sports fan"},
    "fly": {"the insect": "fly insect"},
    "glass": {"for drinking": "drinking glass", "the material": "pane of glass"},
    "horn": {"of an animal": "animal horn", "the instrument": "french horn"},
    "iron": {"for clothes": "clothes iron", "the metal": "iron metal"},
    "jaguar": {"the animal": "jaguar animal", "the car": "jaguar car"},
    "keyboard": {"of a computer": "computer keyboard", "the instrument": "piano keyboard"},
    "kite": {"the toy": "kite toy", "the bird": "kite bird"},
    "mercury": {"the planet": "planet mercury", "the metal": "liquid mercury metal"},
    "mole": {"the animal": "mole animal", "the skin mark": "mole on skin"},
    "monitor": {"the screen": "computer monitor", "the lizard": "monitor lizard"},
    "mouse": {"the animal": "mouse rodent", "the computer part": "computer mouse"},
    "mustang": {"the horse": "mustang horse", "the car": "mustang car"},
    "nail": {"of a finger": "fingernail", "for a hammer": "iron nail"},
    "nut": {"the food": "nut food", "for a bolt": "metal nut"},
    "orange": {"the fruit": "orange fruit", "the colour": "orange colour"},
    "palm": {"the tree": "palm tree", "of a hand": "palm of a hand"},
    "perch": {"the fish": "perch fish", "for birds": "bird perch"},
    "pike": {"the fish": "pike fish", "the weapon": "pike weapon"},
    "pipe": {"for water": "metal pipe", "for smoking": "smoking pipe"},
    "pitcher": {"the jug": "water pitcher", "the player": "baseball pitcher"},
    "plain": {"the landscape": "grassy plain landscape", "'simple'": "plain background"},
    "plate": {"the dish": "dinner plate", "of a car": "licence plate"},
    "python": {"the snake": "python snake"},
    "ray": {"the fish": "stingray fish", "of light": "ray of light"},
    "ring": {"the jewel": "finger ring", "for boxing": "boxing ring"},
    "robin": {"the bird": "robin bird"},
    "rose": {"the flower": "rose flower"},
    "ruler": {"the tool": "measuring ruler"},
    "seal": {"the animal": "seal animal", "the stamp": "wax seal"},
    "squash": {"the vegetable": "squash vegetable", "the sport": "squash court"},
    "swallow": {"the bird": "swallow bird"},
    "tank": {"the vehicle": "military tank", "for water": "water tank"},
    "tie": {"the clothing": "necktie"},
    "trunk": {"of a tree": "tree trunk", "of an elephant": "elephant trunk"},
    "turkey": {"the bird": "turkey bird", "the country": "country turkey"},
    "watch": {"the clock": "wrist watch"},
}


def readings(wording: str) -> dict[str, str]:
    """Return the readings of an ambiguous name, each with a prompt for it; none if it is clear.

    A plural has the readings of its singular.
    """
    name = wording.strip().casefold()
    singulars = (name, name.removesuffix("s"), name.removesuffix("es"))
    return next((SENSES[one] for one in singulars if one in SENSES), {})
