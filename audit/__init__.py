"""Evidence of what crossed the wire: capture, decoding, detectors, controls, leakage, and a signed report.

Verdicts are PASS, FAIL or INCOMPLETE, never PASS by default, with what the audit cannot see written in the report.
Nothing here imports any other package of ours, so that the judge does not lean on the judged; Flower is imported in
`audit/decode` alone, to parse its messages.

    capture → decode → detect → examine → report → bundle, verify        controls: leaks that must be seen
                                          leakage                        files: the same search for any file
"""
