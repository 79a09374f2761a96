"""BLAKE3 as in its paper: hash, keyed_hash and derive_key with 32 bytes of output."""

import struct

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 16, 32, 64
WORD = 0xFFFFFFFF


def hash(message):
    return _tree(message, IV, 0)


def keyed_hash(key, message):
    return _tree(message, struct.unpack("<8I", key), KEYED_HASH)


def derive_key(context, material):
    key = _tree(context.encode(), IV, DERIVE_KEY_CONTEXT)
    return _tree(material, struct.unpack("<8I", key), DERIVE_KEY_MATERIAL)


def _tree(message, key, flags):
    state = _node(message, 0, key, flags, ROOT)
    return struct.pack("<8I", *state)


def _node(message, counter, key, flags, root):
    """The chaining value of a subtree whose first chunk has number `counter`."""
    if len(message) <= 1024:
        return _chunk(message, counter, key, flags, root)
    # The left side is the largest power of two of chunks that leaves at least a byte to the right.
    chunks = 1 << (((len(message) - 1) // 1024).bit_length() - 1)
    left = _node(message[: chunks * 1024], counter, key, flags, 0)
    right = _node(message[chunks * 1024 :], counter + chunks, key, flags, 0)
    return _compress(key, left + right, 0, 64, flags | PARENT | root)


def _chunk(message, counter, key, flags, root):
    state = key
    blocks = [message[at : at + 64] for at in range(0, len(message), 64)] or [b""]
    for place, block in enumerate(blocks):
        flag = flags
        if place == 0:
            flag |= CHUNK_START
        if place == len(blocks) - 1:
            flag |= CHUNK_END | root
        words = struct.unpack("<16I", block.ljust(64, b"\0"))
        state = _compress(state, words, counter, len(block), flag)
    return state


def _compress(chaining, words, counter, length, flags):
    v = [
        *chaining,
        *IV[:4],
        counter & WORD,
        counter >> 32,
        length,
        flags,
    ]
    words = list(words)
    for _ in range(7):
        for place, (a, b, c, d) in enumerate(
            (
                (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
            )
        ):
            v[a] = (v[a] + v[b] + words[2 * place]) & WORD
            v[d] = _rotate(v[d] ^ v[a], 16)
            v[c] = (v[c] + v[d]) & WORD
            v[b] = _rotate(v[b] ^ v[c], 12)
            v[a] = (v[a] + v[b] + words[2 * place + 1]) & WORD
            v[d] = _rotate(v[d] ^ v[a], 8)
            v[c] = (v[c] + v[d]) & WORD
            v[b] = _rotate(v[b] ^ v[c], 7)
        words = [words[place] for place in PERMUTATION]
    return tuple(v[place] ^ v[place + 8] for place in range(8))


def _rotate(word, bits):
    return (word >> bits | word << (32 - bits)) & WORD
