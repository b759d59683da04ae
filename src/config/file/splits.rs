//! What a person writes about who gets which variant of a route.

use serde_json::Value as Json;

use super::List;
use super::conditions::{AskerCertificate, AskerClaim, AskerCookie, AskerHeader, AskerQuery};
use crate::config::asker::{CookieName, Password, SigningSecret, UserKey};
use crate::config::declare::{record, word_schema, words};
use crate::config::outside::SentHeader;
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
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
    /// How one route's requests divide among variants: a feature flag, where there is a key.
    Split {
        /// How applications call it; no other flag is called so. Default: the name of the route.
        optional "flag" flag: Name,
        /// What keeps a user on one side; without it each request draws anew.
        optional "key" key: Key,
        /// Hashed between the route's name and the key, so that another release draws other users. Default: nothing.
        optional "salt" salt: Text,
        /// Write false to kill it: then everybody gets the default variant. Default: true.
        optional "enabled" enabled: bool,
        /// From then on it is on, such as "2026-12-01T08:00:00Z". Default: never switched on by itself.
        optional "enableAt" enable_at: PointInTime,
        /// From then on it is off. Default: never switched off by itself.
        optional "disableAt" disable_at: PointInTime,
        /// The variant while it is off, and of those who lack a prerequisite. Default: the rollout's from, else the first.
        optional "defaultVariant" default_variant: Name,
        /// Other flags and what they must answer, all of them; else the default variant. Default: none.
        optional "prerequisites" prerequisites: AtLeastOne<Prerequisite>,
        /// A signed cookie that keeps clients without a key on one side. Default: none.
        optional "sticky" sticky: Sticky,
        /// The sides, in order; raising the weight of one moves users in from its neighbours only.
        required "variants" variants: AtLeastOne<Variant>,
        /// Clients that are placed by rule; tried in order, before the weights.
        optional "cohorts" cohorts: List<Cohort>,
        /// What is different in an environment, by its name. Default: nothing.
        optional "environments" environments: Fields<Text, Environment>,
    }
    later []
}

record! {
    /// What keeps a user on one side: exactly one of header, cookie, query, jwt, clientCertificate, clientIp.
    Key {
        /// The header that names the user.
        optional "header" header: HeaderName,
        /// The cookie that names the user.
        optional "cookie" cookie: CookieName,
        /// The parameter of the query that names the user.
        optional "query" query: Text,
        /// The claim of a verified token that names the user, such as sub.
        optional "jwt" jwt: Text,
        /// Write true to use who the client's verified certificate says it is.
        optional "clientCertificate" client_certificate: bool,
        /// Write true to use the client's address.
        optional "clientIp" client_ip: bool,
        /// What to use where a request has no such key. Default: each such request draws anew.
        optional "fallback" fallback: Fallback,
    }
    later []
}

words! {
    /// What stands in for a key that a request lacks.
    Fallback {
        /// The client's address.
        "clientIp" ClientIp,
    }
    later []
}

record! {
    /// Another flag, and what it must answer.
    Prerequisite {
        /// How applications call the other flag.
        required "flag" flag: Name,
        /// The variant that it must answer.
        required "variant" variant: Name,
    }
    later []
}

record! {
    /// A signed cookie with what was drawn for a client, good for these releases only.
    Sticky {
        /// Its name. Default: serin- and the name of the route.
        optional "cookie" cookie: CookieName,
        /// How long after its last renewal it is good. Default: 1h; from 1m to 30d.
        optional "maxAge" max_age: Limit,
        /// What signs it, at least 32 bytes; the same in all processes that share clients. Default: one that this
        /// process keeps in its state directory.
        optional "secret" secret: SigningSecret,
        /// When browsers send it with requests from other sites. Default: lax.
        optional "sameSite" same_site: SameSite,
    }
    later []
}

words! {
    /// When browsers send a cookie with requests from other sites.
    SameSite {
        /// Never.
        "strict" Strict,
        /// When somebody follows a link.
        "lax" Lax,
        /// Always; browsers want TLS for it.
        "none" None,
    }
    later []
}

record! {
    /// One side of a split.
    Variant {
        /// A name that no other variant of the split has.
        required "name" name: Name,
        /// The name of a backend.
        required "backend" backend: Name,
        /// Relative to the other weights; 0 means none.
        required "weight" weight: Weight,
        /// What it means to applications: true or false, a text, a number or a mapping; for all variants or for none.
        optional "value" value: FlagValue,
    }
    later []
}

record! {
    /// What is different in one environment.
    Environment {
        /// The weights of all variants there.
        optional "weights" weights: Fields<Name, Weight>,
        /// Whether it is on there.
        optional "enabled" enabled: bool,
    }
    later []
}

record! {
    /// Clients that are placed by rule: all of the conditions that it names must hold.
    Cohort {
        /// A name that no other cohort of the split has.
        required "name" name: Name,
        /// All of these must hold.
        optional "headers" headers: AtLeastOne<AskerHeader>,
        /// All of these must hold.
        optional "cookies" cookies: AtLeastOne<AskerCookie>,
        /// All of these must hold.
        optional "query" query: AtLeastOne<AskerQuery>,
        /// All of these must hold of a verified token; see jwt.
        optional "claims" claims: AtLeastOne<AskerClaim>,
        /// All of these must hold of the client's verified certificate; see clientCa.
        optional "clientCertificates" client_certificates: AtLeastOne<AskerCertificate>,
        /// The client's address lies in one of these.
        optional "clientIps" client_ips: AtLeastOne<Network>,
        /// This process serves the environment of this name.
        optional "environment" environment: Text,
        /// The key of the split is one of these, or stands in keysFile.
        optional "keys" keys: AtLeastOne<UserKey>,
        /// A file of keys, one a line, that is read again when it changes. A relative path begins at this file's
        /// directory.
        optional "keysFile" keys_file: Text,
        /// Other flags and what they must answer, all of them.
        optional "prerequisites" prerequisites: AtLeastOne<Prerequisite>,
        /// A header with a secret, which is not passed on.
        optional "secret" secret: Secret,
        /// Outsiders must not use it: then it must have secret, clientIps, claims, clientCertificates, or keys that
        /// nobody can make up. Default: false.
        optional "internal" internal: bool,
        /// Where they all go; either this or fractional.
        optional "variant" variant: Name,
        /// How they divide: variants and their weights, with the same bucket of each user as the split.
        optional "fractional" fractional: Fields<Name, Weight>,
        /// Whether their requests count in the verdict on a canary. Default: false.
        optional "evidence" evidence: bool,
    }
    later []
    elsewhere [
        ["attributes"] "headers"
            "does not stand here: a request has no attributes, and they are for the cohorts of `flags`; write headers, \
             cookies, query or claims",
    ]
}

record! {
    /// A header that must hold a secret; compared in constant time, not passed on.
    Secret {
        /// The name of the header, in any case.
        required "header" header: SentHeader,
        /// Its whole value, at least 16 bytes; best a variable.
        required "value" value: Password,
    }
    later []
}
