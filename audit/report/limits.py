"""What every audit of this kind covers, whom it defends against, and what it cannot show, in the page's own words."""

from __future__ import annotations

__all__ = ["AUDITED", "NOT_PROVEN", "PAPER_PROCEDURE", "THREAT_MODEL"]

AUDITED = (
    "All TCP traffic on the coordinator's outer port for as long as the run lasted, both directions, all peers.",
    "Each TLS session, opened with secrets that exist in audited runs only, and each record authenticated.",
    "Each HTTP exchange, protobuf message, content-addressed object and array inside those sessions.",
)
THREAT_MODEL = (
    "A site that leaks by accident or naively: a picture in an update, a metric, a file name or a configuration value; "
    "also compressed, encoded, cut in pieces, or as bare pixels.",
    "A coordinator that sends another model than it promised.",
    "Whoever alters the evidence later: every byte of this bundle is signed.",
)
NOT_PROVEN = (
    "That a malicious site hid nothing. A float32 update has about 8 bits to spare in each mantissa: some 2 MB in one "
    "round of MobileNetV2. What is encrypted, or only XORed with one byte, looks like nothing to a search for content. "
    "Masked sums, coarse quantisation or noise added outside the site narrow that channel; this audit does not close "
    "it.",
    "What passed outside the audited port: other network interfaces, removable media, and the loopback connection "
    "between the coordinator's gate and the engine behind it.",
    "That the coordinator's list of session secrets was honest. A session without a secret is noticed (INCOMPLETE); "
    "software that speaks past the audited port is not.",
    "That the machine which captured was itself sound. Its account of dropped packets is taken from its kernel.",
    "That the training data were lawful, representative or correctly labelled.",
    "Rounds and runs other than this one.",
)
PAPER_PROCEDURE = (
    "Capture the TLS traffic and search the bytes of each packet for FF D8 FF (JPEG) and 89 50 4E 47 (PNG), without "
    "decrypting."
)
