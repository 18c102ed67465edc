"""What the demo's invented household contains and what people in it talk about.

All of it is made up for the demo. In each pair the first list is for everyone, the second is
kept from training, so that held-out sentences name things that no trace has named before.
"""

from __future__ import annotations

from itertools import product

AREAS = """kitchen|living room|bedroom|guest room|nursery|office|study|library|bathroom|hallway|
dining room|laundry room|pantry|playroom|conservatory|studio|workshop|balcony|terrace|garden|
veranda|sauna|den|loft|porch|music room""".replace("\n", "").split("|")

FLOORS = ["ground", "first", "second", "third", "upstairs", "downstairs", "cellar", "mezzanine"]

#: An entity is called "<modifier> <head>"; the head tells what kind of thing it is, as it must
#: for a reader who cannot look into the household.
HEADS: dict[str, list[str]] = {
    "light": ["chandelier", "sconces", "lantern", "pendant", "uplighter", "glow strip", "globe"],
    "switch": ["plug", "kettle", "coffee maker", "dehumidifier", "outlet", "charger"],
    "fan": ["ventilator", "circulator", "extractor", "blower"],
    "media_player": ["speaker", "soundbar", "television", "receiver", "radio"],
    "input_boolean": ["mode"],
    "climate": ["thermostat", "radiator", "heat pump", "air conditioner"],
    "cover": ["drapes", "roller", "skylight", "louvres", "canopy"],
    "valve": ["valve", "faucet", "sprinkler"],
    "lock": ["latch", "deadbolt", "padlock"],
    "binary_sensor": ["contact", "detector"],
    "sensor": ["meter", "gauge", "probe"],
    "vacuum": ["sweeper", "robovac"],
    "lawn_mower": ["grass cutter", "lawn robot"],
    "scene": ["mood", "ambience", "vibe"],
    "script": ["routine", "sequence", "ritual"],
    "button": ["trigger", "chime"],
    "input_button": ["bell", "buzzer"],
}

MODIFIERS = (
    """reading|corner|vintage|copper|bay|oak|marble|front|rear|little|grand|silver|walnut|arched|
round|window|desk|bedside|fireplace|piano|aquarium|bookshelf|wine|toy|sewing|tall|smart|portable|
old|spare|north|south|quiet|turbo|sunny|paper|crystal|wicker|hobby|mirror|stair|bamboo|holiday|
guest|evening|morning|winter|party|compact|ivory|cedar|slim|antique|double""",
    """velvet|harbour|maple|granite|eastern|tiny|bronze|orchid|retro|lotus|upright|pebble|summer|
midnight|willow|hexagon|artist|hidden|western|lavender""",
)

#: Entities whose name is no "<modifier> <head>".
NAMES: dict[str, tuple[str, str]] = {
    "person": (
        "anna|boris|carla|dmitri|elif|farid|greta|hiro|ines|jonas|kavya|liam|mona|noor|oscar",
        "paula|ravi|selma|tomas|uma|viktor",
    ),
    "weather": (
        "lisbon|oslo|nairobi|lima|kyoto|porto|quebec|tunis|vienna|zagreb|bergen|hanoi|cusco|perth",
        "dakar|riga|malaga|adelaide|bogota|turin",
    ),
    "todo": (
        "chores|holiday|packing|birthday|renovation|repair|weekend|school|reading|moving|plant",
        "camping|wedding|errands|recipe|charity",
    ),
}

#: Words for lists that the grammar leaves open.
OPEN: dict[str, tuple[str, str]] = {
    "zone": (
        "work|school|airport|grandma's house|swimming pool|station|summer cottage|"
        "climbing hall|college|allotment|bakery|daycare",
        "harbour|tennis club|clinic|choir practice|beach house",
    ),
    "timer_name": (
        "pasta|laundry|nap|pizza|egg|homework|bread|tea|parking|meditation|cake|oven|rice|workout|"
        "medicine|dough|potato|screen time|bath|call|soup|stretching|roast|cookie|break",
        "lasagne|hair dye|curry|puzzle|steak|reading|dumpling|yoghurt|practice|muffin",
    ),
    "todo_list_item": (
        "call the plumber|water the ferns|pay the rent|book a dentist|fix the gate|wash the car|"
        "charge the camera|buy stamps|clean the gutters|iron the shirts|sort the photos|"
        "return the books|renew the passport|order new filters|sharpen the knives|feed the cat|"
        "print the tickets|paint the fence|change the bedsheets|descale the kettle",
        "collect the parcel|oil the hinges|rotate the tyres|mend the curtains|email the landlord|"
        "prune the roses|empty the compost|tune the guitar",
    ),
}

MESSAGES = (
    "dinner is ready|the bus leaves in ten minutes|breakfast is served|we are leaving soon|"
    "the film is about to start|please come downstairs|the guests have arrived|"
    "someone is at the door|it is time for bed|the cake is out of the oven|"
    "i am going to the shop|the washing machine has finished|your taxi is outside|"
    "everyone should put on shoes|the dog needs a walk|homework comes first|"
    "we need help with the groceries|the pool is closed today|lunch will be late|"
    "the internet is down|grandpa is on the phone|it has started to snow|the parcel came|"
    "keep the noise down please|the baby is asleep|tea is getting cold|wash your hands now",
    "the train is delayed|pancakes are on the table|the meeting starts at noon|"
    "please feed the hamster|uncle leo is visiting tonight|the bathroom is free again|"
    "we found the missing keys|the storm is coming closer|practice is cancelled",
)

COMMANDS = (
    "turn off the|turn on the|switch off the|open the|close the|check the|start the|stop the",
    "oven|heating|curtains|sprinklers|dishwasher|garden lights|music|coffee machine|front gate|"
    "towel rail|washing machine|bedroom lamp|dryer|air fryer|pool pump",
    "ice maker|electric blanket|chicken coop|slow cooker|fountain|porch heater",
)

ITEMS = (
    "oat|fresh|frozen|organic|brown|sliced|dried|whole|red|salted|unsalted|canned|baby|sweet|light",
    "milk|bread|butter|rice|tomatoes|onions|beans|spinach|peas|flour|yoghurt|cheese|apples|crackers",
    "smoked|crunchy|pickled|mixed|wild",
    "salmon|berries|mushrooms|lentils|almonds|cucumbers|olives",
)

QUERIES = (
    "midnight|golden|broken|electric|silent|paper|crimson|lonely|distant|frozen|neon|hollow",
    "harbour|lanterns|avenue|horses|satellite|orchard|machine|parade|letters|mountain|carousel",
    "wandering|emerald|restless|velvet|thunder",
    "pilgrims|cathedral|hummingbird|riverside|astronaut",
)


def split(text: str) -> list[str]:
    """The words of one list."""
    return text.replace("\n", "").split("|")


def pairs(first: str, second: str) -> list[str]:
    """Every "<first> <second>"."""
    return [f"{a} {b}" for a, b in product(split(first), split(second))]
