"""Texts by which a converted model is calibrated and compared with the checkpoint. Pure.

Sentences on many subjects, of several languages, and passages made of them, so that lengths are
those of real requests. No text that calibrates is one that compares.
"""

from collections.abc import Sequence

_SENTENCES = (
    "The committee postponed its decision until the auditors have seen the accounts.",
    "Where can I park near the station?",
    "Water boils at a lower temperature in the mountains.",
    "My order arrived with a broken screen, and I would like a replacement.",
    "def add(a, b): return a + b",
    "She plays the cello in a string quartet on Thursdays.",
    "Quarterly revenue rose by 4.2 percent to 318 million euros.",
    "The patient reports headaches and a mild fever since Monday.",
    "Die Lieferung verzögert sich wegen des Streiks um zwei Tage.",
    "El museo abre a las diez y cierra a las ocho.",
    "Refunds are paid within fourteen days to the card that was charged.",
    "The treaty was signed in Westphalia in 1648.",
    "How do I reset my password if I no longer have the phone number?",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "SELECT name, total FROM invoices WHERE paid = false ORDER BY due",
    "The hikers were found unharmed after a night in the snow.",
    "Please keep the receipt; without it there is no warranty.",
    "Interest rates will stay where they are, the central bank said on Wednesday.",
    "Mon train part à sept heures et quart, voie 12.",
    "The film is too long by half an hour, but its last scene is unforgettable.",
    "Error 503: the service is overloaded; try again in a minute.",
    "A group of dolphins followed the ferry for more than an hour.",
    "What is the difference between a virus and a bacterium?",
    "The defendant pleaded not guilty to all three charges.",
    "Add the flour slowly, then let the dough rest for an hour.",
    "The new bridge carries four lanes of traffic and a cycle path.",
    "Il contratto scade alla fine del mese prossimo.",
    "Battery life is excellent, and the keyboard is the best that I have used.",
    "The enzyme is inhibited by low concentrations of zinc.",
    "Tickets are sold out for both evenings.",
    "The tenant must give three months' notice in writing.",
    "Goal! The visitors lead by two in the last minute.",
    "今日は雨が降るので、傘を持って行ってください。",
    "Global shipping costs fell for the fifth month in a row.",
    "Is this jacket available in a larger size?",
    "Neural networks learn by gradient descent on a loss.",
    "The village has had no doctor since the spring.",
    "Your parcel is with the neighbours at number 14.",
    "Elections are held every four years in November.",
    "The soup is good; the service was slow.",
    "Clean the filter once a month to keep the machine quiet.",
    "He left the company after twenty years to open a bakery.",
    "Earthquakes of this size happen about once in a decade.",
    "Курс валюты изменился после заявления банка.",  # noqa: RUF001 -- Russian
    "The sonata was written for an instrument that no longer exists.",
    "You can cancel the subscription at any time in your account.",
    "Astronomers found water vapour in the atmosphere of a distant planet.",
    "The price includes breakfast, but not the tourist tax.",
    "Insulin lowers the level of glucose in the blood.",
    "It was a bright cold day, and the clocks were striking.",
    "The library is closed for renovation until September.",
    "Which documents do I need to register a car?",
    "The vaccine is given in two doses, four weeks apart.",
    "Onze klantenservice is op werkdagen bereikbaar.",
    "The algorithm sorts n items in n log n steps.",
    "Farmers fear another dry summer in the south.",
    "The judge ruled that the clause was void.",
    "Great value for the money, although the colours are not as shown.",
    "Turn left after the church and follow the river.",
    "Copper conducts electricity better than iron.",
    "The orchestra opens its season with a symphony by Mahler.",
    "Two people were hurt when a lorry left the motorway near the airport.",
    "Save your work before the update restarts the computer.",
    "The minister will meet her colleagues in Geneva next week.",
)
_PASSAGES = 32
"""Beside the single sentences; half of them calibrate, half compare."""


def _passages() -> list[str]:
    # Strides that share no factor with the number of sentences, so that neighbours differ in topic.
    return [
        " ".join(
            _SENTENCES[(number * 7 + step * 11) % len(_SENTENCES)] for step in range(2 + number % 9)
        )
        for number in range(_PASSAGES)
    ]


_TEXTS = [*_SENTENCES, *_passages()]

CALIBRATION_TEXTS: Sequence[str] = tuple(_TEXTS[::2])
"""Texts from which a quantisation learns the ranges of activations."""
COMPARISON_TEXTS: Sequence[str] = tuple(_TEXTS[1::2])
"""Texts on which a converted model is compared with its checkpoint."""
