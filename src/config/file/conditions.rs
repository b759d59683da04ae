//! What a person writes about who belongs to a cohort: a value somewhere, and what it must be.

use serde_json::Value as Json;

use crate::config::asker::{Bound, CookieName, VersionTest};
use crate::config::declare::record;
use crate::config::read::{AtLeastOne, Field, Reader, Slot, Written};
use crate::config::scalar::{HeaderName, Text};
use crate::config::schema::Defs;
use crate::config::tree::NodeId;

/// The ways to test a value, of whatever a condition looks at.
#[derive(Clone, Copy)]
pub(in crate::config) struct Tests<'a> {
    pub(in crate::config) exact: &'a Slot<String>,
    pub(in crate::config) prefix: &'a Slot<Text>,
    pub(in crate::config) suffix: &'a Slot<Text>,
    pub(in crate::config) contains: &'a Slot<Text>,
    pub(in crate::config) regex: &'a Slot<Text>,
    pub(in crate::config) present: &'a Slot<bool>,
    pub(in crate::config) one_of: &'a Slot<AtLeastOne<String>>,
    pub(in crate::config) sem_ver: &'a Slot<VersionTest>,
    pub(in crate::config) less_than: &'a Slot<Bound>,
    pub(in crate::config) less_or_equal: &'a Slot<Bound>,
    pub(in crate::config) greater_than: &'a Slot<Bound>,
    pub(in crate::config) greater_or_equal: &'a Slot<Bound>,
    pub(in crate::config) not: &'a Slot<bool>,
}

/// Declares a condition on one kind of values: its own keys, then one of the tests that all kinds have in common.
macro_rules! condition {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $( $(#[doc = $own_doc:literal])+ $own_key:literal $own:ident: $own_type:ty, )? }
    ) => {
        record! {
            $(#[doc = $doc])+
            $name {
                $( $(#[doc = $own_doc])+ required $own_key $own: $own_type, )?
                /// The value is this.
                optional "exact" exact: String,
                /// The value begins so.
                optional "prefix" prefix: Text,
                /// The value ends so.
                optional "suffix" suffix: Text,
                /// The value holds this somewhere.
                optional "contains" contains: Text,
                /// A regular expression for the whole value.
                optional "regex" regex: Text,
                /// Whether there is such a value at all.
                optional "present" present: bool,
                /// The value is one of these.
                optional "oneOf" one_of: AtLeastOne<String>,
                /// The value is a version (Semantic Versioning 2.0.0) that compares so: an operator (=, !=, <, <=, >,
                /// >=, ^ for the same major number, ~ for the same major and minor number) and a version, such as
                /// ">=1.2.0".
                optional "semVer" sem_ver: VersionTest,
                /// The value is a number below this one.
                optional "lessThan" less_than: Bound,
                /// The value is a number, this one at most.
                optional "lessOrEqual" less_or_equal: Bound,
                /// The value is a number above this one.
                optional "greaterThan" greater_than: Bound,
                /// The value is a number, this one at least.
                optional "greaterOrEqual" greater_or_equal: Bound,
                /// Write true for the opposite: it holds where no value passes, also where there is none. Default: false.
                optional "not" not: bool,
            }
            later []
        }

        impl $name {
            /// How the value is tested.
            pub(in crate::config) fn tests(&self) -> Tests<'_> {
                Tests {
                    exact: &self.exact,
                    prefix: &self.prefix,
                    suffix: &self.suffix,
                    contains: &self.contains,
                    regex: &self.regex,
                    present: &self.present,
                    one_of: &self.one_of,
                    sem_ver: &self.sem_ver,
                    less_than: &self.less_than,
                    less_or_equal: &self.less_or_equal,
                    greater_than: &self.greater_than,
                    greater_or_equal: &self.greater_or_equal,
                    not: &self.not,
                }
            }
        }
    };
}

condition! {
    /// A condition on a header of who asks: its name and one test.
    AskerHeader {
        /// The name of the header, in any case.
        "name" name: HeaderName,
    }
}

condition! {
    /// A condition on a cookie: its name and one test.
    AskerCookie {
        /// The name of the cookie, in its case.
        "name" name: CookieName,
    }
}

condition! {
    /// A condition on a parameter of the query: its name and one test.
    AskerQuery {
        /// The name of the parameter, as decoded.
        "name" name: Text,
    }
}

condition! {
    /// A condition on a claim of a verified token: its name and one test. Of a list any item may pass.
    AskerClaim {
        /// The name of the claim; parts of its path are joined by dots, such as realm_access.roles.
        "name" name: Text,
    }
}

condition! {
    /// A condition on who the client's verified certificate says it is: one test.
    AskerCertificate {}
}

condition! {
    /// A condition on an attribute of an application's context: its name and one test. Of a list any item may pass.
    AskerAttribute {
        /// The name of the attribute; parts of its path are joined by dots, such as user.plan.
        "name" name: Text,
    }
}
