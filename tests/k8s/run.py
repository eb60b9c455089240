"""Runs the tests, a line for each on standard output, where `cargo xtask k8s-test` counts them."""

import sys
import unittest

suite = unittest.defaultTestLoader.discover(".")
sys.exit(not unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite).wasSuccessful())
