"""ML-KEM-768 (FIPS 203): the key pair of a seed, and decapsulation."""

from hashlib import sha3_256, sha3_512, shake_128, shake_256
import hmac

Q, K, DU, DV = 3329, 3, 10, 4


def _reversed(bits):
    return int(f"{bits:07b}"[::-1], 2)


ZETAS = [pow(17, _reversed(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _reversed(i) + 1, Q) for i in range(128)]


class DecapsulationKey:
    def __init__(self, d, z):
        rho_sigma = sha3_512(d + bytes([K])).digest()
        self.rho, sigma = rho_sigma[:32], rho_sigma[32:]
        self.z = z
        self.s = [_ntt(_noise(sigma, n)) for n in range(K)]
        errors = [_ntt(_noise(sigma, n)) for n in range(K, 2 * K)]
        self.matrix = [[_uniform(self.rho, i, j) for j in range(K)] for i in range(K)]
        self.t = [_add(_dot(row, self.s), e) for row, e in zip(self.matrix, errors)]
        self.public = b"".join(_encode(f, 12) for f in self.t) + self.rho

    def decapsulate(self, c):
        m = self._decrypt(c)
        shared_r = sha3_512(m + sha3_256(self.public).digest()).digest()
        shared, r = shared_r[:32], shared_r[32:]
        if hmac.compare_digest(c, self._encrypt(m, r)):
            return shared
        return shake_256(self.z + c).digest(32)

    def _decrypt(self, c):
        u = [_ntt(_decompress(f, DU)) for f in _split(c[: 32 * DU * K], DU)]
        (v,) = [_decompress(f, DV) for f in _split(c[32 * DU * K :], DV)]
        w = _subtract(v, _inverse_ntt(_dot(self.s, u)))
        return _encode(_compress(w, 1), 1)

    def _encrypt(self, m, r):
        y = [_ntt(_noise(r, n)) for n in range(K)]
        columns = [[row[i] for row in self.matrix] for i in range(K)]
        u = [
            _add(_inverse_ntt(_dot(column, y)), _noise(r, K + i))
            for i, column in enumerate(columns)
        ]
        (message,) = [_decompress(f, 1) for f in _split(m, 1)]
        v = _add(_add(_inverse_ntt(_dot(self.t, y)), _noise(r, 2 * K)), message)
        return b"".join(_encode(_compress(f, DU), DU) for f in u) + _encode(_compress(v, DV), DV)


def _uniform(rho, i, j):
    stream = shake_128(rho + bytes([j, i])).digest(3 * 1024)
    values = []
    for a, b, c in zip(stream[0::3], stream[1::3], stream[2::3]):
        values += [value for value in (a | (b & 15) << 8, b >> 4 | c << 4) if value < Q]
    return values[:256]


def _noise(seed, n):
    bits = int.from_bytes(shake_256(seed + bytes([n])).digest(128), "little")
    values = []
    for _ in range(256):
        values.append(((bits & 1) + (bits >> 1 & 1) - (bits >> 2 & 1) - (bits >> 3 & 1)) % Q)
        bits >>= 4
    return values


def _ntt(f):
    f, k, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = ZETAS[k] * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
            k += 1
        length //= 2
    return f


def _inverse_ntt(f):
    f, k, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, ZETAS[k] * (f[j + length] - t) % Q
            k -= 1
        length *= 2
    return [value * 3303 % Q for value in f]


def _dot(row, column):
    total = [0] * 256
    for f, g in zip(row, column):
        for i, gamma in enumerate(GAMMAS):
            a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
            total[2 * i] = (total[2 * i] + a * c + b * d * gamma) % Q
            total[2 * i + 1] = (total[2 * i + 1] + a * d + b * c) % Q
    return total


def _add(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def _subtract(f, g):
    return [(a - b) % Q for a, b in zip(f, g)]


def _compress(f, bits):
    return [((value << bits) + Q // 2) // Q % (1 << bits) for value in f]


def _decompress(f, bits):
    return [(value * Q + (1 << (bits - 1))) >> bits for value in f]


def _encode(f, bits):
    number = sum(value << bits * place for place, value in enumerate(f))
    return number.to_bytes(32 * bits, "little")


def _split(data, bits):
    for at in range(0, len(data), 32 * bits):
        number = int.from_bytes(data[at : at + 32 * bits], "little")
        yield [number >> bits * place & ((1 << bits) - 1) for place in range(256)]
