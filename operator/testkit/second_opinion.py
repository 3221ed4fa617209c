#!/usr/bin/env python3
"""A second verifier's word on what the Sigstore in memory mints: the Python `sigstore` package.

A good bundle must hold for it too, and a defect must be refused by it too: else either the fixture or one of the two
verifiers is wrong. Usage: second_opinion.py FOLDER, with the folder that the example `mint` wrote.
"""
import json
import pathlib
import sys

from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy

# Ours refuses what a log took in the future; the package looks only whether that is within the certificate's ten minutes.
OURS_IS_STRICTER = {"V1-FutureTime"}

folder = pathlib.Path(sys.argv[1])
verifier = Verifier(trusted_root=TrustedRoot.from_file(str(folder / "trusted_root.json")))
different = 0
cases = json.loads((folder / "cases.json").read_text())
for case in cases:
    try:
        bundle = Bundle.from_json((folder / f"{case['name']}.json").read_text())
        wanted = policy.Identity(identity=case["subject"], issuer=case["issuer"])
        _, payload = verifier.verify_dsse(bundle, wanted)
        subjects = [subject["digest"]["sha256"] for subject in json.loads(payload)["subject"]]
        if case["digest"].removeprefix("sha256:") not in subjects:
            raise ValueError("the statement is about other digests")
        held, said = True, "holds"
    except Exception as error:  # every refusal of a library is a refusal, whatever its class
        held, said = False, f"{type(error).__name__}: {error}"
    if held and case["name"] in OURS_IS_STRICTER:
        print(f"looser  {case['name']}: {said}")
    elif held != case["good"]:
        different += 1
        print(f"DIFFERS {case['name']}: {said}")
    else:
        print(f"agrees  {case['name']}: {said[:120]}")
print(f"{len(cases)} bundles, {different} judged differently")
sys.exit(1 if different else 0)
