//! Tokens that identity providers sign (RFC 7519): whose keys are believed, and what a good token says. Pure.
//!
//! The signatures themselves are checked by aws-lc-rs. What stands around them is read here and not by a library for
//! tokens, since those that there are read the clock by themselves, prepare a key anew for each token, and let pass
//! what we refuse: names that are there twice, `crit`, tokens that were made for another purpose.

mod budget;
mod cache;
mod issuer;
mod json;
mod jwks;
mod place;
mod token;

pub use cache::{Asked, Cache};
pub use issuer::{Issuer, IssuerSpec, KeysAt};
pub use jwks::{BadJwks, JWKS_BYTES_MAX, Keys};
pub use place::find;
pub use token::{Refused, TOKEN_BYTES_MAX, Unverified, Verified};

#[cfg(test)]
pub(crate) mod fixture;
