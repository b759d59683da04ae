//! What a person writes about flags for applications alone, and about whose tokens are believed.

use std::time::Duration;

use serde_json::Value as Json;

use super::List;
use super::conditions::AskerAttribute;
use super::splits::{Environment, Fallback, Prerequisite};
use crate::config::asker::{CookieName, UserKey};
use crate::config::declare::record;
use crate::config::outside::Url;
use crate::config::read::{AtLeastOne, Field, Reader, Slot, Written};
use crate::config::scalar::{HeaderName, Text, Weight};
use crate::config::schema::Defs;
use crate::config::shapes::Fields;
use crate::config::spec::Network;
use crate::config::tree::NodeId;
use crate::config::units::Limit;
use crate::config::value::FlagValue;
use crate::config::when::PointInTime;
use crate::name::Name;

record! {
    /// A flag for applications alone.
    Flag {
        /// How applications call it; no other flag is called so, and no route without a flag of its own.
        required "name" name: Name,
        /// What keeps a user on one side. Default: the targeting key of the context.
        optional "key" key: FlagKey,
        /// Hashed between the name and the key, so that another release draws other users. Default: nothing.
        optional "salt" salt: Text,
        /// Write false to kill it: then everybody gets the default variant. Default: true.
        optional "enabled" enabled: bool,
        /// From then on it is on, such as "2026-12-01T08:00:00Z". Default: never switched on by itself.
        optional "enableAt" enable_at: PointInTime,
        /// From then on it is off. Default: never switched off by itself.
        optional "disableAt" disable_at: PointInTime,
        /// The variant while it is off, and of those who lack a prerequisite. Default: the first.
        optional "defaultVariant" default_variant: Name,
        /// Other flags and what they must answer, all of them; else the default variant. Default: none.
        optional "prerequisites" prerequisites: AtLeastOne<Prerequisite>,
        /// The sides, in order; raising the weight of one moves users in from its neighbours only.
        required "variants" variants: AtLeastOne<FlagVariant>,
        /// Users who are placed by rule; tried in order, before the weights.
        optional "cohorts" cohorts: List<FlagCohort>,
        /// What is different in an environment, by its name. Default: nothing.
        optional "environments" environments: Fields<Text, Environment>,
    }
    later []
}

record! {
    /// What keeps a user of an application on one side.
    FlagKey {
        /// The attribute that names the user. Default: the targeting key.
        optional "attribute" attribute: Text,
        /// What to use where a context has no such key. Default: each such question draws anew.
        optional "fallback" fallback: Fallback,
    }
    later []
}

record! {
    /// One side of a flag.
    FlagVariant {
        /// A name that no other variant of the flag has.
        required "name" name: Name,
        /// Relative to the other weights; 0 means none.
        required "weight" weight: Weight,
        /// What it means to applications: true or false, a text, a number or a mapping; for all variants or for none.
        optional "value" value: FlagValue,
    }
    later []
}

record! {
    /// Users who are placed by rule: all of the conditions that it names must hold.
    FlagCohort {
        /// A name that no other cohort of the flag has.
        required "name" name: Name,
        /// All of these must hold.
        optional "attributes" attributes: AtLeastOne<AskerAttribute>,
        /// The clientIp of the context lies in one of these.
        optional "clientIps" client_ips: AtLeastOne<Network>,
        /// This process serves the environment of this name.
        optional "environment" environment: Text,
        /// The key is one of these, or stands in keysFile.
        optional "keys" keys: AtLeastOne<UserKey>,
        /// A file of keys, one a line, that is read again when it changes. A relative path begins at this file's
        /// directory.
        optional "keysFile" keys_file: Text,
        /// Other flags and what they must answer, all of them.
        optional "prerequisites" prerequisites: AtLeastOne<Prerequisite>,
        /// Where they all go; either this or fractional.
        optional "variant" variant: Name,
        /// How they divide: variants and their weights, with the same bucket of each user as the flag.
        optional "fractional" fractional: Fields<Name, Weight>,
    }
    later []
    elsewhere [
        ["headers", "cookies", "query", "claims", "clientCertificates"] "attributes"
            "does not stand here: it is for the cohorts of routes; write `attributes`, which applications send",
    ]
}

record! {
    /// Somebody whose tokens (JWT) are believed, by the keys in exactly one of jwksFile, jwksUrl.
    Issuer {
        /// The `iss` that a token must have; no other issuer has it.
        required "issuer" issuer: Text,
        /// One of these must be among a token's `aud`. Default: any.
        optional "audiences" audiences: AtLeastOne<Text>,
        /// A file with the keys (JWKS), read again when it changes. A relative path begins at this file's directory.
        optional "jwksFile" jwks_file: Text,
        /// Where the keys (JWKS) are: https, or http to a loopback address.
        optional "jwksUrl" jwks_url: Url,
        /// How often jwksUrl is asked again. Default: 5m; from 10s to 24h.
        optional "refresh" refresh: Limit,
        /// The header that carries a token; in authorization after `Bearer`. Default: authorization.
        optional "header" header: HeaderName,
        /// The cookie that carries one where the header does not. Default: none.
        optional "cookie" cookie: CookieName,
        /// How far clocks may be apart. Default: 60s; at most 10m.
        optional "leeway" leeway: Duration,
    }
    later []
}
