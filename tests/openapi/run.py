"""Runs the tests, a line for each on standard output, where `cargo xtask test` counts them."""

import sys
import unittest

unittest.main(module="test_openapi", testRunner=unittest.TextTestRunner(stream=sys.stdout, verbosity=2))
