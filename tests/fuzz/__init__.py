"""Damaged inputs by the thousand: each ends in a result or in an error that names it, in bounded memory and time.

``make fuzz N=100000`` tries many, ``make test`` a few hundred. A new kind of input is one line in `kinds.KINDS`.
"""
