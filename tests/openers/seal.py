"""Opens what store/seal writes, from store/seal/FORMAT.md alone.

Reads one JSON object on standard input (bytes as hex), writes one to standard output; see tests/openers.rs
for what is in them. Anything that does not open ends it with a message and status 1. Needs `cryptography` and
PyNaCl (`nacl`).
"""

import hmac
import json
import struct
import sys
from hashlib import sha3_256, shake_256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha20_decrypt
from nacl.pwhash import argon2id

import blake3
import mlkem

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
EPOCH = "holdfast-seal 2026-11 epoch key: "


def binding(purpose, *fields):
    out = b""
    for field in (purpose, *fields):
        if isinstance(field, int):
            field = struct.pack(">Q", field)
        elif isinstance(field, str):
            field = field.encode()
        out += struct.pack(">I", len(field)) + field
    return out


def expect(holds, message):
    if not holds:
        raise ValueError(message)


def unseal(key, bound_to, blob):
    return xchacha20_decrypt(blob[24:], bound_to, blob[:24], key)


class KeyPair:
    """X-Wing, from its seed."""

    def __init__(self, seed):
        expanded = shake_256(seed).digest(96)
        self.mlkem = mlkem.DecapsulationKey(expanded[:32], expanded[32:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.x25519_public = self.x25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = self.mlkem.public + self.x25519_public
        self.fingerprint = blake3.hash(self.public)

    def open(self, info, blob):
        """HPKE, base mode, single shot: RFC 9180 5.1."""
        encapsulated, ciphertext = blob[:1120], blob[1120:]
        shared = sha3_256(
            self.mlkem.decapsulate(encapsulated[:1088])
            + self.x25519.exchange(X25519PublicKey.from_public_bytes(encapsulated[1088:]))
            + encapsulated[1088:]
            + self.x25519_public
            + b"\\.//^\\"
        ).digest()
        suite = b"HPKE" + struct.pack(">HHH", 0x647A, 1, 3)

        def extract(salt, label, material):
            return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")

        def expand(secret, label, length):
            labeled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + context
            return HKDFExpand(hashes.SHA256(), length, labeled).derive(secret)

        context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
        secret = extract(shared, b"secret", b"")
        cipher = ChaCha20Poly1305(expand(secret, b"key", 32))
        return cipher.decrypt(expand(secret, b"base_nonce", 12), ciphertext, b"")


class EpochKey:
    def __init__(self, lineage, epoch, key, check):
        self.lineage, self.epoch = lineage, epoch
        self.wrap = blake3.derive_key(EPOCH + "wraps of data keys", key)
        self.previous = blake3.derive_key(EPOCH + "key of the previous epoch", key)
        self.escrow = blake3.derive_key(EPOCH + "escrow proof", key)
        self.files = blake3.derive_key(EPOCH + "keys of files", key)
        checked = blake3.keyed_hash(
            blake3.derive_key(EPOCH + "check value", key),
            binding("holdfast-seal/1 check", lineage, epoch),
        )
        expect(hmac.compare_digest(checked, check), f"not the key of epoch {epoch}")

    def escrow_proof(self, challenge):
        return blake3.keyed_hash(
            self.escrow, binding("holdfast-seal/1 escrow", self.lineage, self.epoch, challenge)
        )


def open_epoch(pair, lineage, record, wrap, holder):
    expect(wrap[0] == 1 and len(wrap) == 1169, "no wrap of an epoch key")
    info = binding("holdfast-seal/1 epoch wrap", lineage, record["epoch"], *holder)
    key = pair.open(info, wrap[1:])
    return EpochKey(lineage, record["epoch"], key, hexed(record["check"]))


def open_keyring(newest, records):
    """All epochs, from the newest one's key down."""
    keyring = {newest.epoch: newest}
    records = {record["epoch"]: record for record in records}
    for epoch in range(newest.epoch, 1, -1):
        sealed = hexed(records[epoch]["sealed_previous"])
        expect(sealed[0] == 1 and len(sealed) == 73, "no sealed previous key")
        bound_to = binding("holdfast-seal/1 previous epoch", newest.lineage, epoch, epoch - 1)
        key = unseal(keyring[epoch].previous, bound_to, sealed[1:])
        check = hexed(records[epoch - 1]["check"])
        keyring[epoch - 1] = EpochKey(newest.lineage, epoch - 1, key, check)
    return keyring


def open_envelope(keyring, lineage, envelope):
    payload, wrap = hexed(envelope["payload"]), hexed(envelope["wrap"])
    place = (lineage, hexed(envelope["key"]), envelope["version"], envelope["kind"])
    expect(payload[0] == 1 and wrap[0] == 1 and len(wrap) == 81, "no envelope")
    (epoch,) = struct.unpack(">Q", wrap[1:9])
    digest = blake3.hash(b"\x08" + payload)
    bound_to = binding("holdfast-seal/1 wrap", *place, epoch, digest)
    data_key = unseal(keyring[epoch].wrap, bound_to, wrap[9:])
    padded = unseal(data_key, binding("holdfast-seal/1 payload", *place), payload[1:])
    (length,) = struct.unpack(">I", padded[:4])
    expect(len(padded) == padded_length(4 + length), "the padding is not proper")
    expect(not any(padded[4 + length :]), "the padding is not zero")
    return padded[4 : 4 + length]


def padded_length(length):
    if length <= 64:
        return 64
    exponent = length.bit_length() - 1
    step = 1 << exponent - exponent.bit_length()
    return -(-length // step) * step


def open_node_key(file, secret):
    expect(file[:9] == b"HFNODKEY\x01", "no node key")
    protector = file[9]
    if protector == 1:
        expect(blake3.hash(file[:74]) == file[74:], "the node key is damaged")
        seed = file[42:74]
    else:
        header = 42 if protector == 3 else 70
        if protector == 2:
            memory, passes, lanes = struct.unpack(">III", file[42:54])
            expect(lanes == 1, "libsodium has one lane")
            key = argon2id.kdf(32, secret, file[54:70], passes, memory * 1024)
        else:
            key = blake3.derive_key("holdfast-seal 2026-11 node key: credential", secret)
        bound_to = binding("holdfast-seal/1 node key", file[:header])
        seed = unseal(key, bound_to, file[header:])
    pair = KeyPair(seed)
    expect(pair.fingerprint == file[10:42], "another key than the header says")
    return pair


def read_share(text):
    """Set, index, threshold, values."""
    letters = "".join(letter for letter in text.upper() if letter not in "- \n")
    letters = letters.replace("O", "0").replace("I", "1").replace("L", "1")
    expect(letters.startswith("HFS1") and len(letters) == 4 + 85, "no share")
    symbols = [ALPHABET.index(letter) for letter in letters[4:]]
    number = 0
    for group in range(17):
        *data, check = symbols[5 * group : 5 * group + 5]
        total = check ^ shifted(group, 5)
        for power, symbol in enumerate(data):
            total ^= shifted(symbol, power + 1)
        expect(total == 0, f"a typo in group {group + 1}")
        for symbol in data:
            number = number << 5 | symbol
    content = (number >> 4).to_bytes(42, "big")
    checksum = blake3.derive_key("holdfast-seal 2026-11 recovery share: checksum", content[:39])
    expect(checksum[:3] == content[39:], "the share has typos")
    return content[:5], (content[5] >> 4) + 1, (content[5] & 15) + 1, content[7:39]


def shifted(symbol, power):
    for _ in range(power):
        symbol <<= 1
        if symbol & 32:
            symbol ^= 0b100101
    return symbol


def combine(texts):
    shares = [read_share(text) for text in texts]
    expect(len({share[0] for share in shares}) == 1, "shares of several sets")
    expect(len(shares) >= shares[0][2], "too few shares")
    seed = bytearray(32)
    for _, index, _, values in shares:
        # Lagrange at 0: the product of other / (other - index), where subtraction is xor.
        weight = 1
        for _, other, _, _ in shares:
            if other != index:
                weight = multiplied(weight, multiplied(other, inverse(other ^ index)))
        for place, value in enumerate(values):
            seed[place] ^= multiplied(weight, value)
    pair = KeyPair(bytes(seed))
    expect(pair.fingerprint[:5] == shares[0][0], "the shares do not make the key of their set")
    return pair


def multiplied(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 256:
            a ^= 0x11B
        b >>= 1
    return product


def inverse(a):
    power = 1
    for _ in range(254):
        power = multiplied(power, a)
    return power


def open_stream(stream, purpose, readers):
    """`readers` gives, by kind, a function from the base of the binding and a body to the file key."""
    expect(stream[:9] == b"HFSTREAM\x01", "no sealed stream")
    at = 10 + stream[9]
    lineage = stream[10:at]
    base = ("holdfast-seal/1 file key", lineage, purpose)
    file_key = None
    count, at = stream[at], at + 1
    for _ in range(count):
        kind, length = struct.unpack(">BH", stream[at : at + 3])
        body = stream[at + 3 : at + 3 + length]
        at += 3 + length
        if kind in readers and file_key is None:
            file_key = readers[kind](base, body)
    expect(file_key is not None, "the stream was sealed for others")
    prefix, at = stream[at : at + 19], at + 19
    bound_to = binding("holdfast-seal/1 chunk", blake3.hash(stream[:at]))
    text, number = b"", 0
    while True:
        chunk, at = stream[at : at + 65552], at + 65552
        last = at >= len(stream)
        nonce = prefix + struct.pack(">IB", number, last)
        text += xchacha20_decrypt(chunk, bound_to, nonce, file_key)
        if last:
            return text
        number += 1


def hexed(text):
    return bytes.fromhex(text)


def main():
    given = json.load(sys.stdin)
    lineage, member = given["lineage"], given["member"]
    records = given["epochs"]
    nodes = [
        open_node_key(hexed(file["file"]), hexed(file["secret"])) for file in given["node_keys"]
    ]
    node = nodes[0]
    newest = open_epoch(node, lineage, records[-1], hexed(given["wrap"]), ("member", member))
    keyring = open_keyring(newest, records)
    recovery = combine(given["shares"])
    recovered = open_epoch(
        recovery, lineage, records[-1], hexed(given["recovery_wrap"]), ("recovery", 0)
    )
    own = hexed(given["own_key"])

    def by_key(base, body):
        key = blake3.derive_key("holdfast-seal 2026-11 key of its own: keys of files", own)
        return unseal(key, binding(*base, "key", 0), body)

    def by_keyring(base, body):
        (epoch,) = struct.unpack(">Q", body[:8])
        return unseal(keyring[epoch].files, binding(*base, "epoch", epoch), body[8:])

    def by_member(base, body):
        (number,) = struct.unpack(">Q", body[:8])
        return node.open(binding(*base, "member", number), body[8:]) if number == member else None

    def by_recovery(base, body):
        return recovery.open(binding(*base, "recovery", 0), body)

    stream, purpose = hexed(given["stream"]), hexed(given["purpose"])
    readers = {1: by_key, 2: by_keyring, 3: by_member, 4: by_recovery}
    json.dump(
        {
            "envelopes": [
                open_envelope(keyring, lineage, envelope).hex() for envelope in given["envelopes"]
            ],
            "public_keys": [pair.public.hex() for pair in nodes],
            "recovery_public_key": recovery.public.hex(),
            "proof": recovered.escrow_proof(hexed(given["challenge"])).hex(),
            "streams": [
                open_stream(stream, purpose, {kind: reader}).hex()
                for kind, reader in readers.items()
            ],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
