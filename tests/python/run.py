"""Runs the tests, a line for each on standard output, where `cargo xtask test` counts them."""

import sys
import unittest

unittest.main(module=None, argv=[sys.argv[0], "test_client", "test_tokens"], testRunner=unittest.TextTestRunner(stream=sys.stdout, verbosity=2))
