import unittest

from orders import cart, receipt


class CartTest(unittest.TestCase):
    def test_add(self):
        self.assertEqual(cart.add("tea", 3.0, {"milk": 1.0}), {"milk": 1.0, "tea": 3.0})

    def test_carts_are_apart(self):
        cart.add("tea", 3.0)
        self.assertEqual(cart.add("milk", 1.0), {"milk": 1.0})

    def test_total(self):
        self.assertEqual(cart.total({"tea": 3.0, "milk": 1.0}), 4.0)

    def test_gold_members_pay_less(self):
        level = "".join(["go", "ld"])
        self.assertEqual(cart.total({"tea": 3.0, "milk": 1.0}, level), 3.6)

    def test_missing(self):
        self.assertEqual(cart.missing({"tea": 3.0}, ["tea", "milk"]), ["milk"])


class ReceiptTest(unittest.TestCase):
    def test_greeting(self):
        self.assertEqual(receipt.greeting("Ada"), "Dear Ada,")

    def test_lines(self):
        self.assertEqual(receipt.lines({"tea": 3.0, "milk": 1.0}), ["milk: 1.00", "tea: 3.00"])

    def test_note(self):
        self.assertEqual(receipt.note({}), "Thank you.")
