"""The document of the API, and the API beside it: no answer is missing in the document, and none is an error of the server."""

import json
import os
import pathlib
import subprocess
import sys
import unittest
import urllib.request

from node import SECRET, Node, acknowledging_client

FOLDER = pathlib.Path(__file__).parent
# Far above what a run takes when all goes slowly.
LONGEST = 600


class Document(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(cls.node.stop)
        client = acknowledging_client(cls.node.url)
        cls.addClassCleanup(client.shutdown)

    def test_document_needs_no_key(self):
        with urllib.request.urlopen(f"{self.node.api}/openapi.json") as answer:
            document = json.load(answer)
        self.assertEqual(document["openapi"], "3.1.0")
        self.assertEqual(document["components"]["schemas"]["EmitWithAck"]["properties"]["timeout_ms"]["maximum"], 200)

    def test_api_answers_as_the_document_says(self):
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(FOLDER / "schemathesis.toml"), "run"]
        command += [f"{self.node.api}/openapi.json", "--url", self.node.api]
        environment = {**os.environ, "KEY": SECRET, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(FOLDER), "NO_COLOR": "1", "COLUMNS": "140"}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        # Schemathesis writes files to its folder.
        run = subprocess.run(command, cwd=self.node.folder, env=environment, timeout=LONGEST, **output)
        self.assertTrue(self.node.is_running(), "the node ended")
        if run.returncode != 0:
            self.node.log.seek(0)
            self.fail(f"{run.stdout}\n{self.node.log.read()[-2000:]}")


if __name__ == "__main__":
    unittest.main()
