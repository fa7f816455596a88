"""The lessons as pages: a site, slides and handouts, made from the notebooks as they are saved.

`make site`, `make slides` and `make handouts` ask for them; no lesson and no other part of the package does.
"""
