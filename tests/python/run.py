"""Runs the tests, a line for each on standard output, where `cargo xtask test` counts them."""

import sys
import unittest

modules = ["test_client", "test_deflate", "test_tokens", "test_webhooks"]
unittest.main(module=None, argv=[sys.argv[0], *modules], testRunner=unittest.TextTestRunner(stream=sys.stdout, verbosity=2))
