# ruff: noqa: E501 -- a table reads best with one sentence a line
"""The word problems' sentences: one table for training, one held out.

A template's `steps` say how its answer comes about, one step of three characters each, in order:
left operand, operation, right operand. A letter is a slot of the text, `_` the result of the step
before, a digit stands for itself (two in "half"). `"a-b _*c"` reads: take b from a, times c.

The held-out sentences use no word that the training sentences do not use, so that what they ask of
a model is to read a new sentence, not to guess an unknown word.
"""

from dataclasses import dataclass

HE_NAMES = ("Tom", "Sam", "Ben", "Leo", "Max", "Omar", "Raj", "Kofi")
SHE_NAMES = ("Ana", "Mia", "Eva", "Zoe", "Lily", "Nina", "Aiko", "Rosa")
THINGS = ("pens", "books", "coins", "cards", "shells", "stamps", "marbles", "toys", "beads", "cups")
FOODS = ("apples", "pears", "plums", "cakes", "eggs", "nuts", "cookies", "figs")


@dataclass(frozen=True, slots=True)
class Template:
    """One problem's sentences with slots, and the steps to its answer.

    Slots: `{name}` and `{other}` (two people), `{he}`, `{He}`, `{his}` (of the first), `{things}`,
    `{food}`, and the numbers `{a}` to `{d}`.
    """

    text: str
    steps: str


# fmt: off
TRAINING = (
    # one step: more
    Template("{name} has {a} {things}. {He} buys {b} more. How many {things} does {name} have now?", "a+b"),
    Template("{name} finds {a} {things} and {other} finds {b}. How many {things} do they have together?", "a+b"),
    Template("There are {a} {things} in a box. {name} puts in {b} more. How many {things} are in the box?", "a+b"),
    Template("{name} reads {a} pages on Monday and {b} pages on Tuesday. How many pages does {he} read in all?", "a+b"),
    Template("A bag holds {a} red {things} and {b} blue {things}. How many {things} are in the bag?", "a+b"),
    Template("{name} had {a} {food}. {other} gave {name} {b} more. How many {food} does {name} have?", "a+b"),
    Template("{name} is {a} years old. {other} is {b} years older. How old is {other}?", "a+b"),
    Template("{name} has {a} {things}. {other} has {b} more {things} than {name}. How many does {other} have?", "a+b"),
    # one step: fewer
    Template("{name} has {a} {food}. {He} eats {b}. How many {food} are left?", "a-b"),
    Template("{name} had {a} {things} and gave {b} to {other}. How many {things} does {name} have left?", "a-b"),
    Template("There are {a} birds in a tree. Then {b} fly away. How many birds are left?", "a-b"),
    Template("{name} has {a} {things}. {other} has {b} fewer. How many {things} does {other} have?", "a-b"),
    Template("{name} needs {a} {things}. {He} has {b}. How many more {things} does {he} need?", "a-b"),
    Template("A rope is {a} feet long. {name} cuts off {b} feet. How long is the rope now?", "a-b"),
    Template("{name} has {a} dollars. {He} spends {b} dollars on {food}. How many dollars are left?", "a-b"),
    Template("{name} loses {b} of {his} {a} {things}. How many {things} does {he} still have?", "a-b"),
    # one step: times and shares
    Template("{name} buys {b} boxes. Each box holds {a} {things}. How many {things} does {name} buy?", "a*b"),
    Template("There are {b} rows of chairs. Each row has {a} chairs. How many chairs are there in all?", "a*b"),
    Template("{name} walks {a} miles each day. How many miles does {he} walk in {b} days?", "a*b"),
    Template("Each of the {things} costs {a} dollars. {name} buys {b}. How many dollars does {he} pay?", "a*b"),
    Template("{name} has {a} {things}. {other} has {b} times as many. How many {things} does {other} have?", "a*b"),
    Template("{name} shares {a} {food} equally among {b} friends. How many {food} does each friend get?", "a/b"),
    Template("{name} puts {a} {things} into {b} equal rows. How many {things} are in each row?", "a/b"),
    # two steps: more and fewer
    Template("{name} has {a} {things}. {He} buys {b} more and loses {c}. How many {things} does {he} have now?", "a+b _-c"),
    Template("{name} has {a} {food}. {He} eats {b} and buys {c} more. How many {food} does {name} have now?", "a-b _+c"),
    Template("There are {a} people on a bus. Then {b} get off and {c} get on. How many people are on the bus?", "a-b _+c"),
    Template("There are {a} people in a room. Then {b} more come and {c} leave. How many people are left?", "a+b _-c"),
    Template("{name} had {a} {things}. {He} gave {b} to {other} and lost {c}. How many {things} are left?", "a-b _-c"),
    Template("{name} finds {a} {things} on Monday, {b} on Tuesday and {c} on Friday. How many does {he} find in all?", "a+b _+c"),
    Template("{name} has {a} dollars. {He} gets {b} dollars and spends {c}. How many dollars does {name} have?", "a+b _-c"),
    Template("A farm has {a} cows, {b} goats and {c} hens. How many animals are on the farm?", "a+b _+c"),
    Template("{name} has {a} red {things} and {b} blue ones. {He} gives away {c}. How many are left?", "a+b _-c"),
    Template("{name} picks {a} {food} and {other} picks {b}. They eat {c} of them. How many {food} are left?", "a+b _-c"),
    Template("{name} needs {a} {things}. {He} has {b} and finds {c}. How many more does {name} need?", "a-b _-c"),
    # two steps: with times
    Template("{name} buys {b} boxes of {a} {things} and gives away {c}. How many {things} are left?", "a*b _-c"),
    Template("Each bag holds {a} {food}. {name} has {b} bags and {c} more {food}. How many {food} does {he} have?", "a*b _+c"),
    Template("{name} reads {a} pages each day for {b} days, then {c} pages more. How many pages does {he} read?", "a*b _+c"),
    Template("{name} has {a} {things} and buys {b} more. {other} has {c} times as many. How many does {other} have?", "a+b _*c"),
    Template("{name} had {a} {food} and ate {b}. {other} has {c} times as many as are left. How many does {other} have?", "a-b _*c"),
    Template("{name} works {b} hours and gets {a} dollars each hour. {He} spends {c} dollars. How many are left?", "a*b _-c"),
    # two steps: with shares
    Template("{name} has {a} {food} and finds {b}. {He} shares them equally among {c} friends. How many does each get?", "a+b _/c"),
    Template("{name} has {a} {things}, loses {b} and puts the rest into {c} equal rows. How many are in each row?", "a-b _/c"),
    Template("{name} has {a} {food}. {He} eats half of them and buys {b} more. How many {food} does {he} have?", "a/2 _+b"),
    Template("{name} has {a} {things}. {He} gives half of them to {other} and loses {b}. How many are left?", "a/2 _-b"),
    Template("{name} finds {a} {things} and {other} finds {b}. They sell half of them. How many do they sell?", "a+b _/2"),
    # three steps
    Template("{name} has {a} {things}. {He} buys {b}, loses {c} and finds {d}. How many {things} does {he} have now?", "a+b _-c _+d"),
    Template("There are {a} birds in a tree. Then {b} fly away, {c} come and {d} more come. How many birds are in the tree?", "a-b _+c _+d"),
    Template("{name} buys {b} bags of {a} {food}, eats {c} and gives {d} to {other}. How many {food} are left?", "a*b _-c _-d"),
    Template("{name} has {a} dollars, gets {b} and spends {c}. {other} has {d} times as many. How many dollars does {other} have?", "a+b _-c _*d"),
    Template("{name} has {a} {food}. {He} eats half of them, then buys {b} and loses {c}. How many {food} are left?", "a/2 _+b _-c"),
    Template("{name} picks {a} {food} and {other} picks {b}. They eat {c} and share the rest equally among {d} friends. How many does each get?", "a+b _-c _/d"),
)

HELD_OUT = (
    # one step
    Template("{name} picks {a} {food} on Monday and {b} on Friday. How many {food} does {he} have in all?", "a+b"),
    Template("There are {a} birds in a tree. Then {b} more come. How many birds are in the tree now?", "a+b"),
    Template("{name} had {a} {things}. {He} lost {b}. How many {things} does {name} have now?", "a-b"),
    Template("There are {a} people on a bus. Then {b} get off. How many people are left on the bus?", "a-b"),
    Template("{name} has {b} bags. Each bag holds {a} {food}. How many {food} does {he} have in all?", "a*b"),
    Template("{name} reads {a} pages each day. How many pages does {he} read in {b} days?", "a*b"),
    Template("{name} puts {a} {food} into {b} equal bags. How many {food} are in each bag?", "a/b"),
    # two steps
    Template("{name} has {a} {food}. {other} gives {name} {b} more. Then {he} eats {c}. How many {food} are left?", "a+b _-c"),
    Template("{name} had {a} {things}. {He} lost {b} and then {other} gave {name} {c}. How many does {name} have now?", "a-b _+c"),
    Template("A box holds {a} red {things}, {b} blue {things} and {c} more. How many {things} are in the box?", "a+b _+c"),
    Template("A rope is {a} feet long. {name} cuts off {b} feet and {other} cuts off {c} feet. How long is the rope now?", "a-b _-c"),
    Template("{name} buys {b} bags of {a} {food} and eats {c}. How many {food} does {name} have left?", "a*b _-c"),
    Template("There are {b} rows of {a} chairs and {c} more chairs in a room. How many chairs are there in all?", "a*b _+c"),
    Template("{name} has {a} {food}. {He} gives half of them to {other} and eats {b}. How many are left?", "a/2 _-b"),
    # three steps
    Template("There are {a} people in a room. Then {b} leave, {c} come and {d} more come. How many people are in the room?", "a-b _+c _+d"),
    Template("{name} buys {b} boxes of {a} {things}, loses {c} and gives away {d}. How many {things} are left?", "a*b _-c _-d"),
)
# fmt: on
