//! Tokens that identity providers sign (RFC 7519): whose keys are believed, and what a good token says. Pure.

use std::path::PathBuf;
use std::time::Duration;

/// Whose tokens are believed, and where they stand in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerSpec {
    /// The `iss` that a token must have; unique among issuers.
    pub issuer: String,
    /// One of them must be among a token's `aud`; empty: any.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeysAt,
    /// The request header that carries a token, lower case; after `Bearer ` in `authorization`.
    pub header: String,
    /// The cookie that carries one where the header does not.
    pub cookie: Option<String>,
    /// How far clocks may be apart. Default 60 s.
    pub leeway: Duration,
}

/// Where the public keys of an issuer are (JWKS, RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeysAt {
    /// A file; watched like the configuration.
    File(PathBuf),
    /// An address that is asked again after `refresh`, and when a token names a key that is not known.
    Url {
        /// `https://`, or `http://` for loopback addresses alone.
        url: String,
        /// Default 5 min.
        refresh: Duration,
    },
}

/// One issuer, and its keys of this moment. It outlives swaps of the table.
#[derive(Debug)]
pub struct Issuer {
    spec: IssuerSpec,
}

impl Issuer {
    /// Without keys it believes nobody.
    #[must_use]
    pub const fn new(spec: IssuerSpec) -> Self {
        Self { spec }
    }

    /// What the file says of it.
    #[must_use]
    pub const fn spec(&self) -> &IssuerSpec {
        &self.spec
    }
}
