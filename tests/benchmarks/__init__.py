"""Measurements of whole programs: ours, other trainers, and what the machine itself allows.

    python -m tests.benchmarks head --photos 2000 --epochs 10

makes a folder of synthetic photos, runs every side in turn as a process of its own, and prints one table. Nothing
here runs as a test; ``tests/test_benchmarks.py`` proves on a few photos that it works.

Peers may have an interpreter of their own, so that what they require does not touch ours:

    python -m venv peers && peers/bin/pip install fastai ultralytics
    python -m tests.benchmarks head --peer-python peers/bin/python

Nobody downloads weights: every side starts from random ones, so accuracies only show that all of them learn.

Files named ``side_*.py`` are programs of their own: each is started by its path, by the interpreter of its side, and
imports nothing from here. The last line that it prints is one JSON object. This package itself imports no torch.
"""
