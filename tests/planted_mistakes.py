"""Mistakes that learners make, so that every checker is seen to refuse them with the hint meant for them.

Checker name -> pairs (code, words): the code takes the place of the exercise's stub, in the notebook as it
has run so far, and the checker must answer with a hint that contains the words. Each has two pairs or more.
"""

PLANTED = {}
