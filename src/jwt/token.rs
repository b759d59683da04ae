//! One token (JWS compact form, RFC 7515 §3.1): what it says, and whether that is to be believed (RFC 7519, RFC 8725).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json};

use super::issuer::IssuerSpec;
use super::json;
use super::jwks::{Algorithm, Keys, NoKey};
use crate::values::{TooMuch, Values};

/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Bytes of the claims of a token, once their names are written out.
const VALUES_BYTES_MAX: usize = 64 << 10;

/// A token as it stands: nothing of it is to be believed yet.
pub struct Unverified<'t> {
    /// Header and claims, in their written form.
    signed: &'t [u8],
    signature: Vec<u8>,
    algorithm: Algorithm,
    key: Option<String>,
    claims: Map<String, Json>,
}

/// What a token says that is to be believed.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its claims.
    pub claims: Values,
    /// From this Unix second on it is not to be believed any more.
    pub ends_s: u64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum Refused {
    #[error("it has more than {TOKEN_BYTES_MAX} bytes")]
    Large,
    #[error("it is not three parts of base64url that are joined by dots")]
    Form,
    #[error("its header is no JSON object, or has a name twice")]
    Header,
    #[error("its header demands an extension (`crit`)")]
    Critical,
    #[error("its `typ` is not JWT: it was made for another purpose")]
    Kind,
    #[error("its `alg` is none that is verified here")]
    Algorithm,
    #[error("its claims are no JSON object, or have a name twice")]
    Claims,
    #[error("its claims are too many or too deep: {0}")]
    TooMuch(#[from] TooMuch),
    #[error("its claims are too long")]
    TooLong,
    #[error("its `iss` is nobody whose tokens are believed")]
    Issuer,
    #[error("its `aud` names none of ours")]
    Audience,
    #[error("it has no `exp`, or one that is no time")]
    NoEnd,
    #[error("it has expired")]
    Ended,
    #[error("its `nbf` has not come yet, or is no time")]
    NotYet,
    #[error("the key that it names is not known")]
    UnknownKey,
    #[error("it was not signed by the key that it names")]
    Signature,
    #[error("it was not looked at: too many bad signatures came in this second")]
    Flood,
}

impl<'t> Unverified<'t> {
    /// Reads a token. Nothing is verified.
    ///
    /// # Errors
    /// [`Refused`], where no key could make it good.
    pub fn read(token: &'t [u8]) -> Result<Self, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Large);
        }
        let mut parts = token.split(|&byte| byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Form);
        };
        let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Form);
        let signed = &token[..header.len() + 1 + claims.len()];
        let (header, claims, signature) = (decoded(header)?, decoded(claims)?, decoded(signature)?);
        let header = json::object(&header).map_err(|_| Refused::Header)?;
        // We know no extension, so we must not pass over one that counts (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(Refused::Critical);
        }
        if !header.get("typ").is_none_or(is_plain_token) {
            return Err(Refused::Kind);
        }
        let algorithm = header.get("alg").and_then(Json::as_str).and_then(Algorithm::of);
        let key = match header.get("kid") {
            None => None,
            Some(Json::String(name)) => Some(name.clone()),
            Some(_) => return Err(Refused::Header),
        };
        Ok(Self {
            signed,
            signature,
            algorithm: algorithm.ok_or(Refused::Algorithm)?,
            key,
            claims: json::object(&claims).map_err(|_| Refused::Claims)?,
        })
    }

    /// Who it says has signed it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Json::as_str)
    }

    /// What it says, if it is to be believed at `now_s`, in Unix seconds. What costs little is asked first.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(&self, by: &IssuerSpec, keys: Option<&Keys>, now_s: u64) -> Result<Verified, Refused> {
        let ends_s = self.check_claims(by, now_s)?;
        let keys = keys.ok_or(Refused::UnknownKey)?;
        keys.verify(self.key.as_deref(), self.algorithm, self.signed, &self.signature)
            .map_err(|why| match why {
                NoKey::Unknown => Refused::UnknownKey,
                NoKey::Algorithm => Refused::Algorithm,
                NoKey::Signature => Refused::Signature,
            })?;
        let claims = Values::of(&self.claims)?;
        if claims.bytes() > VALUES_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        Ok(Verified { claims, ends_s })
    }

    /// Whether it is by whom, for whom and of when we want it (RFC 7519 §4.1); when it ends, with leeway.
    fn check_claims(&self, by: &IssuerSpec, now_s: u64) -> Result<u64, Refused> {
        if self.issuer() != Some(&by.issuer) {
            return Err(Refused::Issuer);
        }
        if !by.audiences.is_empty() {
            let is_ours = |one: &Json| {
                one.as_str()
                    .is_some_and(|one| by.audiences.iter().any(|ours| ours == one))
            };
            let meant = match self.claims.get("aud") {
                Some(Json::Array(all)) => all.iter().any(is_ours),
                Some(one) => is_ours(one),
                None => false,
            };
            if !meant {
                return Err(Refused::Audience);
            }
        }
        let leeway_s = by.leeway.as_secs();
        let end_s = self.claims.get("exp").and_then(seconds).ok_or(Refused::NoEnd)?;
        let ends_s = end_s.saturating_add(leeway_s);
        if now_s >= ends_s {
            return Err(Refused::Ended);
        }
        if let Some(begin) = self.claims.get("nbf") {
            let begins_s = seconds(begin).ok_or(Refused::NotYet)?;
            if now_s.saturating_add(leeway_s) < begins_s {
                return Err(Refused::NotYet);
            }
        }
        Ok(ends_s)
    }
}

/// Whether a `typ` (RFC 7515 §4.1.9) is that of a token which says who somebody is: JWT, or an access token (RFC 9068).
fn is_plain_token(kind: &Json) -> bool {
    let Some(kind) = kind.as_str() else { return false };
    let kind = match kind.split_at_checked(12) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => kind,
    };
    kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("at+jwt")
}

/// A NumericDate (RFC 7519 §2), which may have a fraction; before 1970 is none.
fn seconds(date: &Json) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is not below 0
    let floor = |date: f64| (date >= 0.0).then_some(date as u64);
    date.as_u64().or_else(|| date.as_f64().and_then(floor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::{Refused, TOKEN_BYTES_MAX, Unverified, Verified};
    use crate::jwt::fixture::{NOW_S, Signer, claims, encoded, spec};

    fn verify(token: &str, signer: &Signer) -> Result<Verified, Refused> {
        Unverified::read(token.as_bytes())?.verify(&spec(), Some(&signer.keys()), NOW_S)
    }

    fn with(name: &str, value: Json) -> Json {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[test]
    fn every_kind_of_key_signs_good_tokens_in_its_own_ways_alone() {
        let signers = [
            Signer::rsa("k"),
            Signer::p256("k"),
            Signer::p384("k"),
            Signer::ed25519("k"),
        ];
        for (at, signer) in signers.iter().enumerate() {
            for alg in signer.algorithms() {
                let token = signer.token_as(json!({"alg": alg, "kid": "k", "typ": "JWT"}), &claims());
                let verified = verify(&token, signer).unwrap();
                assert_eq!(verified.claims.all("sub").collect::<Vec<_>>(), ["alice"]);
                assert_eq!(verified.ends_s, NOW_S + 300 + 60);
                for (other_at, other) in signers.iter().enumerate().filter(|(other, _)| *other != at) {
                    let found = verify(&token, other);
                    assert_eq!(found, Err(Refused::Algorithm), "{alg} {other_at}");
                }
            }
        }
    }

    #[test]
    fn a_token_without_a_proper_signature_is_refused() {
        let signer = Signer::p256("k");
        let check = |token: &str, expected| assert_eq!(verify(token, &signer), Err(expected), "{token}");
        let good = signer.token(&claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let part = |json: &Json| encoded(json.to_string().as_bytes());
        check(
            &format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims())),
            Refused::Algorithm,
        );
        check(
            &format!("{}.{}.", part(&json!({"alg": "None"})), part(&claims())),
            Refused::Algorithm,
        );
        check(
            &format!("{}.{}.", part(&json!({})), part(&claims())),
            Refused::Algorithm,
        );
        check(&format!("{signed}."), Refused::Signature);
        check(
            &format!("{header}.{}.{signature}", part(&with("sub", json!("eve")))),
            Refused::Signature,
        );
        check(&Signer::p256("k").token(&claims()), Refused::Signature);
        check(&Signer::p256("new").token(&claims()), Refused::UnknownKey);
        // A shared secret that everybody knows: our own public key.
        let public = signer.jwk().to_string();
        for secret in [public.as_bytes(), &signer.public()] {
            for alg in ["HS256", "HS384", "HS512"] {
                let token = Signer::hmac(secret, &json!({"alg": alg, "kid": "k"}), &claims());
                check(&token, Refused::Algorithm);
            }
        }
        assert!(verify(&good, &signer).is_ok());
    }

    #[test]
    fn headers_that_mean_more_than_we_know_are_refused() {
        let signer = Signer::ed25519("k");
        let check = |header: Json, expected: Result<(), Refused>| {
            let token = signer.token_as(header.clone(), &claims());
            assert_eq!(verify(&token, &signer).map(|_| ()), expected, "{header}");
        };
        check(json!({"alg": "EdDSA"}), Ok(()));
        check(json!({"alg": "Ed25519", "typ": "at+jwt"}), Ok(()));
        check(json!({"alg": "EdDSA", "typ": "application/AT+JWT"}), Ok(()));
        check(json!({"alg": "EdDSA", "kid": 7}), Err(Refused::Header));
        check(
            json!({"alg": "EdDSA", "crit": ["b64"], "b64": true}),
            Err(Refused::Critical),
        );
        check(json!({"alg": "EdDSA", "typ": "logout+jwt"}), Err(Refused::Kind));
        check(json!({"alg": "EdDSA", "typ": 7}), Err(Refused::Kind));
        check(json!({"alg": ["EdDSA"]}), Err(Refused::Algorithm));
        check(json!([]), Err(Refused::Header));
    }

    #[test]
    fn who_and_for_whom_and_when_must_fit() {
        let signer = Signer::ed25519("k");
        let check = |name: &str, value: Json, expected: Result<(), Refused>| {
            let token = signer.token(&with(name, value.clone()));
            assert_eq!(verify(&token, &signer).map(|_| ()), expected, "{name} {value}");
        };
        check("iss", json!("https://evil.example.com"), Err(Refused::Issuer));
        check("iss", json!(["https://id.example.com"]), Err(Refused::Issuer));
        check("iss", Json::Null, Err(Refused::Issuer));
        check("aud", json!("shop"), Ok(()));
        check("aud", json!(["other", "shop"]), Ok(()));
        check("aud", json!("other"), Err(Refused::Audience));
        check("aud", json!([]), Err(Refused::Audience));
        check("aud", json!({"shop": true}), Err(Refused::Audience));
        check("aud", Json::Null, Err(Refused::Audience));
        check("exp", json!(NOW_S - 59), Ok(()));
        check("exp", json!(NOW_S - 60), Err(Refused::Ended));
        #[allow(clippy::cast_precision_loss)] // a time of these days
        check("exp", json!(NOW_S as f64 - 59.5), Err(Refused::Ended));
        check("exp", json!(1e300), Ok(()));
        check("exp", json!(-1), Err(Refused::NoEnd));
        check("exp", json!(NOW_S.to_string()), Err(Refused::NoEnd));
        check("exp", Json::Null, Err(Refused::NoEnd));
        check("nbf", json!(NOW_S + 60), Ok(()));
        check("nbf", json!(NOW_S + 61), Err(Refused::NotYet));
        check("nbf", json!("now"), Err(Refused::NotYet));
    }

    #[test]
    fn an_issuer_without_audiences_takes_any_and_one_without_keys_believes_nobody() {
        let signer = Signer::ed25519("k");
        let token = signer.token(&with("aud", json!("other")));
        let token = Unverified::read(token.as_bytes()).unwrap();
        let mut spec = spec();
        spec.audiences.clear();
        assert!(token.verify(&spec, Some(&signer.keys()), NOW_S).is_ok());
        assert_eq!(token.verify(&spec, None, NOW_S), Err(Refused::UnknownKey));
    }

    #[test]
    fn what_is_no_token_is_refused_without_a_look_at_keys() {
        let signer = Signer::ed25519("k");
        let check = |token: &str, expected| assert_eq!(verify(token, &signer), Err(expected), "{token:.60}");
        let good = signer.token(&claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        check("", Refused::Form);
        check("..", Refused::Header);
        check(signed, Refused::Form);
        check(&format!("{good}."), Refused::Form);
        check(&format!("{good}="), Refused::Form);
        check(&format!(" {good}"), Refused::Form);
        check(&format!("{good}.x.y"), Refused::Form);
        check(&"a".repeat(TOKEN_BYTES_MAX + 1), Refused::Large);
        let (header, _) = signed.split_once('.').unwrap();
        let twice = encoded(br#"{"sub":"alice","sub":"bob"}"#);
        check(&format!("{header}.{twice}.{signature}"), Refused::Claims);
        let deep = encoded(format!("{{\"a\":{}", "[".repeat(4_000)).as_bytes());
        check(&format!("{header}.{deep}.{signature}"), Refused::Claims);
    }

    #[test]
    fn claims_are_bounded() {
        let signer = Signer::ed25519("k");
        let check = |value: Json, expected| {
            let token = signer.token(&with("x", value));
            assert_eq!(verify(&token, &signer), Err(expected));
        };
        check(
            (0..9).fold(json!(1), |inner, _| json!([inner])),
            Refused::TooMuch(crate::values::TooMuch::Deep),
        );
        check(json!(vec![1; 1_001]), Refused::TooMuch(crate::values::TooMuch::Many));
        // Each of 900 values has its whole name in front of it.
        check(json!({"n".repeat(900): vec![1; 900]}), Refused::TooLong);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_token_and_none_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Unverified::read(&bytes).is_err());
        }

        #[test]
        fn no_changed_byte_is_believed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let signer = Signer::ed25519("k");
            let mut token = signer.token(&claims()).into_bytes();
            let at = at.index(token.len());
            prop_assume!(token[at] != byte);
            token[at] = byte;
            let verified = Unverified::read(&token).and_then(|token| token.verify(&spec(), Some(&signer.keys()), NOW_S));
            prop_assert!(verified.is_err());
        }
    }
}
