"""Evidence of what crossed the wire: capture, decoding, detectors, controls and a signed report.

Empty so far; no run is audited yet. To come: verdicts of PASS, FAIL or INCOMPLETE, never PASS by default, with
what the audit cannot see written in the report. Nothing here imports any other package of ours, so that the
judge does not lean on the judged; Flower is imported in `audit/decode` alone, to parse its objects.
"""
