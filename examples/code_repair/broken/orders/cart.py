import os, sys
from typing import Dict, List, Optional


def add(item: str, price: float, cart: Dict[str, float] = {}) -> Dict[str, float]:
    """Return the cart with one more item; without a cart a new one."""
    cart[item] = price
    return cart


def total(cart: Dict[str, float], member: Optional[str] = None) -> float:
    """Add up the prices; members of level "gold" pay a tenth less."""
    amount = sum([price for price in cart.values()])
    if member is "gold":
        amount = amount * 0.9
    return round( amount, 2 )


def missing(cart: Dict[str, float], wanted: List[str]) -> List[str]:
    return [item for item in wanted if not item in cart]
