"""The web page on which people watch runs, classify images and read audits.

Empty so far. To come: a Flask application that shows what the run records hold and asks `secure_fl` and `audit`
for everything else. It never imports Flower, and nothing imports it.
"""
