"""Makes keys and signs tokens as the JSON on standard input says, with the library `cryptography`."""

import base64, hashlib, hmac, json, sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size):
    return text(value.to_bytes(size, "big"))


MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS384": lambda: rsa.generate_private_key(65537, 3072),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def jwk(name, alg, key):
    public = key.public_key()
    base = {"kid": name, "alg": alg, "use": "sig"}
    if alg in ("RS256", "PS384"):
        n = public.public_numbers()
        return base | {"kty": "RSA", "n": number(n.n, public.key_size // 8), "e": number(n.e, 3)}
    if alg in ("ES256", "ES384"):
        n, size = public.public_numbers(), public.key_size // 8
        return base | {"kty": "EC", "crv": f"P-{public.key_size}", "x": number(n.x, size), "y": number(n.y, size)}
    return base | {"kty": "OKP", "crv": "Ed25519", "x": text(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}


def sign(alg, key, data):
    if alg == "none":
        return b""
    if alg == "HS256":
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return hmac.new(public, data, hashlib.sha256).digest()
    if alg == "RS256":
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if alg == "PS384":
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), hashes.SHA384().digest_size)
        return key.sign(data, pss, hashes.SHA384())
    if alg == "EdDSA":
        return key.sign(data)
    digest, size = {"ES256": (hashes.SHA256(), 32), "ES384": (hashes.SHA384(), 48)}[alg]
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def token(keys, wanted):
    header = wanted["header"]
    data = ".".join(text(json.dumps(part).encode()) for part in (header, wanted["claims"]))
    return data + "." + text(sign(header["alg"], keys[wanted["by"]], data.encode()))


order = json.load(sys.stdin)
keys = {name: MAKE[alg]() for name, alg in order["keys"].items()}
json.dump({
    "jwks": {name: jwk(name, order["keys"][name], key) for name, key in keys.items()},
    "tokens": [token(keys, wanted) for wanted in order["tokens"]],
}, sys.stdout)
