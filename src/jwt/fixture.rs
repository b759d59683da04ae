//! Those who sign tokens in unit tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use super::{IssuerSpec, Keys, KeysAt};

/// The time in tests, in Unix seconds.
pub(crate) const NOW_S: u64 = 1_800_000_000;

/// An issuer, `https://id.example.com`, for `shop`.
pub(crate) fn spec() -> IssuerSpec {
    IssuerSpec {
        issuer: "https://id.example.com".to_owned(),
        audiences: vec!["shop".to_owned()],
        keys: KeysAt::File(PathBuf::from("jwks.json")),
        header: "authorization".to_owned(),
        cookie: None,
        leeway: Duration::from_secs(60),
    }
}

/// Good claims of alice.
pub(crate) fn claims() -> Json {
    json!({"iss": "https://id.example.com", "aud": "shop", "sub": "alice", "exp": NOW_S + 300})
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One who signs tokens.
#[derive(Clone)]
pub(crate) struct Signer {
    name: String,
    pair: Arc<Pair>,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn of(name: &str, pair: Pair) -> Self {
        Self {
            name: name.to_owned(),
            pair: Arc::new(pair),
        }
    }

    pub(crate) fn rsa(name: &str) -> Self {
        Self::of(name, Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub(crate) fn p256(name: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::of(name, Pair::P256(pair))
    }

    pub(crate) fn p384(name: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self::of(name, Pair::P384(pair))
    }

    pub(crate) fn ed25519(name: &str) -> Self {
        Self::of(name, Pair::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    /// Bytes of the public key.
    pub(crate) fn public(&self) -> Vec<u8> {
        match &*self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The public key as identity providers write it.
    pub(crate) fn jwk(&self) -> Json {
        let public = self.public();
        let mut key = match &*self.pair {
            // The DER of 2048 bits and the usual exponent: 9 bytes stand before the modulus.
            Pair::Rsa(_) => json!({"kty": "RSA", "n": encoded(&public[9..265]), "e": "AQAB"}),
            Pair::P256(_) => {
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&public[1..33]), "y": encoded(&public[33..])})
            }
            Pair::P384(_) => {
                json!({"kty": "EC", "crv": "P-384", "x": encoded(&public[1..49]), "y": encoded(&public[49..])})
            }
            Pair::Ed25519(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&public)}),
        };
        key["kid"] = json!(self.name);
        key["use"] = json!("sig");
        key
    }

    /// The set with its key alone.
    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// That set, read.
    pub(crate) fn keys(&self) -> Keys {
        Keys::parse(self.jwks().as_bytes()).unwrap()
    }

    /// The algorithms of its kind.
    pub(crate) fn algorithms(&self) -> &'static [&'static str] {
        match &*self.pair {
            Pair::Rsa(_) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Pair::P256(_) => &["ES256"],
            Pair::P384(_) => &["ES384"],
            Pair::Ed25519(_) => &["EdDSA"],
        }
    }

    /// A token with `claims`, as it should be.
    pub(crate) fn token(&self, claims: &Json) -> String {
        self.token_as(json!({"alg": self.algorithms()[0], "kid": self.name}), claims)
    }

    /// A token with this header.
    pub(crate) fn token_as(&self, header: Json, claims: &Json) -> String {
        let signed = signed(&header, claims);
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", encoded(&signature))
    }

    /// A token with a shared secret, which nobody may believe.
    pub(crate) fn hmac(secret: &[u8], header: &Json, claims: &Json) -> String {
        let algorithm = match header["alg"].as_str() {
            Some("HS384") => hmac::HMAC_SHA384,
            Some("HS512") => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        let signed = signed(header, claims);
        let signature = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
        format!("{signed}.{}", encoded(signature.as_ref()))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let chance = rand::SystemRandom::new();
        match &*self.pair {
            Pair::Rsa(pair) => {
                let form: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(form, &chance, message, &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&chance, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn signed(header: &Json, claims: &Json) -> String {
    let [header, claims] = [header, claims].map(|part| encoded(part.to_string().as_bytes()));
    format!("{header}.{claims}")
}
