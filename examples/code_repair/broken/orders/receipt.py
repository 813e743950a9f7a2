import json
from typing import Dict
from collections import OrderedDict


def greeting(name: str) -> str:
    """Return the first line of a receipt."""
    line = "Dear {name},"
    return line


def lines(cart: Dict[str, float]) -> list:
    names = sorted(list(cart.keys()))
    prices = [cart[name] for name in names]
    return ["%s: %.2f" % (name, price) for name, price in zip(names, prices)]


def note(cart: Dict[str, float], text = None) -> str:
    if text == None:
        text = f"Thank you"
    return text + "."
