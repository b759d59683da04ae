//! Sets of public keys (JWKS: RFC 7517, 7518, 8037): which of them may verify which signatures.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json};

use super::json;

/// Bytes of a set.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Keys of a set, those that cannot be used among them.
const KEYS_MAX: usize = 100;
/// So many keys with one name are tried on a signature.
const TRIES_MAX: usize = 4;
/// Bytes of a public exponent: larger ones only cost time.
const EXPONENT_BYTES_MAX: usize = 4;

/// The public keys of an issuer; at least one.
pub struct Keys {
    keys: Vec<Key>,
    /// Of the text that they stood in.
    digest: [u8; 32],
}

/// Why a text is no set of keys that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwks {
    /// Longer than [`JWKS_BYTES_MAX`].
    #[error("the key set has more than {JWKS_BYTES_MAX} bytes")]
    Large,
    /// No JSON object, or a name is there twice.
    #[error("it is no key set (JWKS): {0}; give a JSON object with a list `keys`")]
    Json(String),
    /// There is no list of keys.
    #[error("it is no key set (JWKS): there is no list `keys`; give a JSON object with one")]
    NoList,
    /// Too many.
    #[error("the key set has more than {KEYS_MAX} keys")]
    Many,
    /// None at all: most often a file that is being written, or the wrong one.
    #[error("the key set is empty; give at least one public key")]
    Empty,
    /// None of them can be used; why not the first.
    #[error("none of the {0} keys can verify tokens; of the first: {1}")]
    NoneFits(usize, Unfit),
}

/// Why a key cannot be used. Such keys are passed over (RFC 7517 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum Unfit {
    #[error("it is no object")]
    NoObject,
    #[error("its `kty` is not one of RSA, EC and OKP; a shared secret (`oct`) verifies nothing here")]
    Kind,
    #[error("its `use` is not `sig`, or its `key_ops` has no `verify`")]
    Use,
    #[error("its `alg` is none that we verify with such a key")]
    Algorithm,
    #[error("its `crv` is not one of P-256, P-384 and Ed25519")]
    Curve,
    #[error("it is a private key; give the public one alone")]
    Private,
    #[error("its `kid` is no text")]
    Name,
    #[error("its RSA modulus has not 2048 to 8192 bits")]
    Size,
    #[error("its numbers are missing, or are no key")]
    Numbers,
}

/// How a token is signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

struct Key {
    name: Option<Box<str>>,
    /// How it may verify: only what is of its own kind, so that no token can choose (RFC 8725 §3.1).
    forms: Vec<(Algorithm, ParsedPublicKey)>,
}

/// No key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None is named so.
    Unknown,
    /// Those that are named so do not verify such signatures.
    Algorithm,
    /// It was signed by somebody else.
    Signature,
}

impl Algorithm {
    /// The algorithm that is called so. `none` and those with shared secrets are not among them.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            // RFC 9864 says which curve is meant.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }
}

const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];

impl Keys {
    /// The keys of a set that can verify tokens; others are passed over.
    ///
    /// # Errors
    /// [`BadJwks`].
    pub fn parse(text: &[u8]) -> Result<Self, BadJwks> {
        if text.len() > JWKS_BYTES_MAX {
            return Err(BadJwks::Large);
        }
        let set = json::object(text).map_err(|error| BadJwks::Json(error.to_string()))?;
        let list = set.get("keys").and_then(Json::as_array).ok_or(BadJwks::NoList)?;
        if list.len() > KEYS_MAX {
            return Err(BadJwks::Many);
        }
        let mut keys = Vec::new();
        let mut first_unfit = None;
        for key in list {
            match Key::of(key) {
                Ok(key) => keys.push(key),
                Err(unfit) => first_unfit = first_unfit.or(Some(unfit)),
            }
        }
        match first_unfit {
            _ if !keys.is_empty() => Ok(Self {
                keys,
                digest: digest(&SHA256, text).as_ref().try_into().expect("SHA-256 has 32 bytes"),
            }),
            Some(unfit) => Err(BadJwks::NoneFits(list.len(), unfit)),
            None => Err(BadJwks::Empty),
        }
    }

    /// How many can be used.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether `signature` of `message` is by the key that is called `name`, or by any where the token names none.
    pub(super) fn verify(
        &self,
        name: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), NoKey> {
        let named = || {
            let mut keys = self.keys.iter();
            std::iter::from_fn(move || keys.find(|key| name.is_none() || key.name.as_deref() == name))
        };
        if named().next().is_none() {
            return Err(NoKey::Unknown);
        }
        let forms = named().filter_map(|key| key.forms.iter().find(|(known, _)| *known == algorithm));
        let mut why = NoKey::Algorithm;
        for (_, key) in forms.take(TRIES_MAX) {
            if key.verify_sig(message, signature).is_ok() {
                return Ok(());
            }
            why = NoKey::Signature;
        }
        Err(why)
    }
}

impl Key {
    fn of(key: &Json) -> Result<Self, Unfit> {
        let key = key.as_object().ok_or(Unfit::NoObject)?;
        if key.get("use").is_some_and(|to| to != "sig") {
            return Err(Unfit::Use);
        }
        if let Some(operations) = key.get("key_ops") {
            let operations = operations.as_array().ok_or(Unfit::Use)?;
            if !operations.iter().any(|operation| operation == "verify") {
                return Err(Unfit::Use);
            }
        }
        let name = match key.get("kid") {
            None => None,
            Some(Json::String(name)) => Some(name.as_str().into()),
            Some(_) => return Err(Unfit::Name),
        };
        let kind = key.get("kty").and_then(Json::as_str);
        let mut forms = match kind {
            Some("RSA") => rsa(key)?,
            Some("EC") => elliptic(key)?,
            Some("OKP") => edwards(key)?,
            Some(_) | None => return Err(Unfit::Kind),
        };
        if key.contains_key("d") {
            return Err(Unfit::Private);
        }
        if let Some(alg) = key.get("alg") {
            let alg = alg.as_str().and_then(Algorithm::of).ok_or(Unfit::Algorithm)?;
            forms.retain(|(algorithm, _)| *algorithm == alg);
            if forms.is_empty() {
                return Err(Unfit::Algorithm);
            }
        }
        Ok(Self { name, forms })
    }
}

type Forms = Vec<(Algorithm, ParsedPublicKey)>;

fn rsa(key: &Map<String, Json>) -> Result<Forms, Unfit> {
    let (n, e) = (number(key, "n")?, number(key, "e")?);
    let (n, e) = (without_zeros(&n), without_zeros(&e));
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(Unfit::Size);
    }
    let is_odd = e.last().is_some_and(|last| last % 2 == 1);
    if e.len() > EXPONENT_BYTES_MAX || !is_odd || e == [1] {
        return Err(Unfit::Numbers);
    }
    let parsed = |(algorithm, parameters)| {
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
        Ok((algorithm, key.map_err(|_| Unfit::Numbers)?))
    };
    RSA.into_iter().map(parsed).collect()
}

fn elliptic(key: &Map<String, Json>) -> Result<Forms, Unfit> {
    let (algorithm, verifier, bytes) = match key.get("crv").and_then(Json::as_str) {
        Some("P-256") => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
        Some("P-384") => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
        Some(_) | None => return Err(Unfit::Curve),
    };
    let (x, y) = (number(key, "x")?, number(key, "y")?);
    if x.len() != bytes || y.len() != bytes {
        return Err(Unfit::Numbers);
    }
    // A point, not compressed (SEC 1 §2.3.3); whether it is on the curve is checked where it is read.
    let point = [&[4], &*x, &*y].concat();
    let key = ParsedPublicKey::new(verifier, point).map_err(|_| Unfit::Numbers)?;
    Ok(vec![(algorithm, key)])
}

fn edwards(key: &Map<String, Json>) -> Result<Forms, Unfit> {
    if key.get("crv").is_none_or(|curve| curve != "Ed25519") {
        return Err(Unfit::Curve);
    }
    let x = number(key, "x")?;
    let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| Unfit::Numbers)?;
    Ok(vec![(Algorithm::EdDsa, key)])
}

fn number(key: &Map<String, Json>, name: &str) -> Result<Vec<u8>, Unfit> {
    let text = key.get(name).and_then(Json::as_str).ok_or(Unfit::Numbers)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unfit::Numbers)
}

/// Some write a zero in front (RFC 7518 §6.3.1.1).
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

impl PartialEq for Keys {
    /// The same text.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Keys {}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{BadJwks, JWKS_BYTES_MAX, KEYS_MAX, Keys, Unfit};
    use crate::jwt::fixture::Signer;

    fn parse(set: &Json) -> Result<Keys, BadJwks> {
        Keys::parse(set.to_string().as_bytes())
    }

    fn with(mut key: Json, name: &str, value: Json) -> Json {
        key[name] = value;
        key
    }

    #[track_caller]
    fn unfit(key: Json, expected: Unfit) {
        let found = parse(&json!({ "keys": [key] })).unwrap_err();
        assert_eq!(found, BadJwks::NoneFits(1, expected), "{key}");
    }

    #[test]
    fn keys_that_cannot_be_used_are_passed_over() {
        let good = Signer::ed25519("a").jwk();
        let oct = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s"});
        let set = json!({"keys": [oct, good, 7, {"kty": "new"}], "more": 1});
        assert_eq!(parse(&set).unwrap().count(), 1);
    }

    #[test]
    fn every_kind_of_key_has_its_reasons() {
        let (rsa, ec, ed) = (
            Signer::rsa("r").jwk(),
            Signer::p256("e").jwk(),
            Signer::ed25519("d").jwk(),
        );
        unfit(json!("text"), Unfit::NoObject);
        unfit(json!({"kty": "oct", "k": "c2VjcmV0"}), Unfit::Kind);
        unfit(with(ed.clone(), "use", json!("enc")), Unfit::Use);
        unfit(with(ed.clone(), "key_ops", json!(["sign"])), Unfit::Use);
        unfit(with(ed.clone(), "key_ops", json!("verify")), Unfit::Use);
        unfit(with(ed.clone(), "kid", json!(7)), Unfit::Name);
        unfit(with(ed.clone(), "crv", json!("Ed448")), Unfit::Curve);
        unfit(with(ed.clone(), "x", json!("AAAA")), Unfit::Numbers);
        unfit(with(ed.clone(), "d", json!("AAAA")), Unfit::Private);
        unfit(with(ed.clone(), "alg", json!("HS256")), Unfit::Algorithm);
        unfit(with(ed, "alg", json!("RS256")), Unfit::Algorithm);
        unfit(with(ec.clone(), "crv", json!("secp256k1")), Unfit::Curve);
        unfit(with(ec.clone(), "crv", json!("P-384")), Unfit::Numbers);
        // No point of the curve.
        unfit(with(ec.clone(), "x", ec["y"].clone()), Unfit::Numbers);
        unfit(with(ec, "y", json!("!")), Unfit::Numbers);
        unfit(with(rsa.clone(), "n", json!("u".repeat(171))), Unfit::Numbers);
        unfit(with(rsa.clone(), "n", json!("u".repeat(172))), Unfit::Size);
        unfit(with(rsa.clone(), "n", json!("_".repeat(1_368))), Unfit::Size);
        unfit(with(rsa.clone(), "e", json!("AQ")), Unfit::Numbers);
        unfit(with(rsa.clone(), "e", json!("Ag")), Unfit::Numbers);
        unfit(with(rsa.clone(), "e", json!("AQAAAAAB")), Unfit::Numbers);
        unfit(with(rsa, "e", Json::Null), Unfit::Numbers);
    }

    #[test]
    fn what_is_no_set_is_refused_with_a_reason() {
        let check = |text: &str, expected: &str| {
            let found = Keys::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{text:.40}: {found}");
        };
        check("", "it is no key set (JWKS): EOF");
        check("{\"keys\": [", "it is no key set (JWKS): EOF");
        check("<html>", "it is no key set (JWKS): expected value");
        check(
            r#"{"keys":[],"keys":[]}"#,
            "it is no key set (JWKS): a name is there twice",
        );
        check("{}", "it is no key set (JWKS): there is no list");
        check(r#"{"keys":{}}"#, "it is no key set (JWKS): there is no list");
        check(r#"{"keys":[]}"#, "the key set is empty");
        check(
            &" ".repeat(JWKS_BYTES_MAX + 1),
            "the key set has more than 262144 bytes",
        );
        check(
            &json!({"keys": vec![1; KEYS_MAX + 1]}).to_string(),
            "the key set has more than 100 keys",
        );
    }

    #[test]
    fn sets_of_the_same_text_are_equal_and_show_no_key() {
        let (one, two) = (Signer::ed25519("a"), Signer::ed25519("b"));
        assert_eq!(one.keys(), one.keys());
        assert_ne!(one.keys(), two.keys());
        assert_eq!(format!("{:?}", one.keys()), "Keys { count: 1, .. }");
    }
}
