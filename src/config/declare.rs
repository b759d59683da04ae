//! Declares the types of `file.rs`: from one declaration come the type, what reads it, and its part
//! of the JSON Schema. So what is described is what is accepted.

use serde_json::{Value as Json, json};

/// A mapping with known keys: a struct of [`Slot`]s, and its [`Written`]. Keys of the format that
/// later versions fill are named, so that they are refused as such; so are keys that belong elsewhere, each with the
/// key that it was probably meant to be here and what to do.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $( $(#[doc = $field_doc:literal])+ $need:ident $key:literal $field:ident: $type:ty, )*
        }
        later [$($later:literal),*]
        $(elsewhere [$([$($misplaced:literal),+] $meant:literal $instead:literal),+ $(,)?])?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub(in crate::config) struct $name {
            $( $(#[doc = $field_doc])+ pub(in crate::config) $field: Slot<$type>, )*
        }

        impl $name {
            const FIELDS: &[Field] = &[
                $( Field { key: $key, required: record!(@ $need), doc: concat!($($field_doc),+) } ),*
            ];
            const ELSEWHERE: &[crate::config::read::Elsewhere] = &[
                $($( crate::config::read::Elsewhere { keys: &[$($misplaced),+], meant: $meant, instead: $instead } ),+)?
            ];
        }

        impl Written for $name {
            fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
                let keys = reader.keys(at, Self::FIELDS, &[$($later),*], Self::ELSEWHERE)?;
                let mut fields = Self::FIELDS.iter();
                Some(Self {
                    $( $field: reader.slot(&keys, fields.next().expect("as many as fields")), )*
                })
            }

            fn schema(defs: &mut Defs) -> Json {
                let types: &[fn(&mut Defs) -> Json] = &[$( <$type as Written>::schema ),*];
                defs.record(stringify!($name), concat!($($doc),+), Self::FIELDS, types)
            }
        }
    };
    (@ required) => { true };
    (@ optional) => { false };
}

/// One of several words: an enum, and its [`Scalar`]. Words of later versions are named, too.
macro_rules! words {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $( $(#[doc = $word_doc:literal])+ $word:literal $variant:ident, )+ }
        later [$($later:literal),*]
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::config) enum $name {
            $( $(#[doc = $word_doc])+ $variant, )+
        }

        impl Scalar for $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ if [$($later),*].contains(&text) => Err("is not supported yet".into()),
                    _ => Err(format!("is none of: {}", [$($word),+].join(", "))),
                }
            }

            fn schema() -> Json {
                word_schema(&[$($word),+])
            }
        }
    };
}

pub(super) use {record, words};

/// One of `words`; those that look like numbers may be written as such.
pub(super) fn word_schema(words: &[&str]) -> Json {
    let numbers = words.iter().filter_map(|word| word.parse::<f64>().ok()).map(Json::from);
    let words = words.iter().copied().map(Json::from);
    json!({ "enum": words.chain(numbers).collect::<Vec<_>>() })
}
