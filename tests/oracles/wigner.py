"""Wigner 3j symbols by Racah's formula in exact integers: slow, and right."""

from fractions import Fraction
from math import factorial, sqrt


def wigner_3j(l1: int, l2: int, l3: int, m1: int, m2: int, m3: int) -> float:
    """The symbol (l1 l2 l3; m1 m2 m3)."""
    inside = abs(l1 - l2) <= l3 <= l1 + l2
    if m1 + m2 + m3 != 0 or not inside or abs(m1) > l1 or abs(m2) > l2 or abs(m3) > l3:
        return 0.0
    triangle = Fraction(
        factorial(l1 + l2 - l3) * factorial(l1 - l2 + l3) * factorial(-l1 + l2 + l3),
        factorial(l1 + l2 + l3 + 1),
    )
    moments = 1
    for ell, m in ((l1, m1), (l2, m2), (l3, m3)):
        moments *= factorial(ell + m) * factorial(ell - m)
    total = Fraction(0)
    for t in range(l1 + l2 + l3 + 1):
        terms = (t, l3 - l2 + t + m1, l3 - l1 + t - m2, l1 + l2 - l3 - t, l1 - t - m1, l2 - t + m2)
        if min(terms) < 0:
            continue
        product = 1
        for term in terms:
            product *= factorial(term)
        total += Fraction((-1) ** t, product)
    return (-1) ** (l1 - l2 - m3) * sqrt(triangle * moments) * float(total)
