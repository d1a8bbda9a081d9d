"""The Command Center: a web page on which people watch runs, start them, classify images and read audits.

Three processes, so that no training can make a page wait: this package's web server (`app`), its worker (`worker`),
and one child of the worker for each run, at low priority. They share SQLite (`store`) and the run records on disk.
The web server imports neither Flower nor training code, and nothing imports this package.
"""
