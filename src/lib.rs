//! Serin: a progressive-delivery traffic proxy. It divides each route's requests among variants,
//! measures every variant in process, and takes weight away from a bad one by itself.
//!
//! ```text
//!             text              Spec               Table                       request
//! config file ────▶ config ────▶ control ─compile─▶ live (one ArcSwap) ─▶ proxy ────▶ endpoints
//!                                   ▲                                       │
//!                                   └──── analysis ◀── measure (counters) ◀─┘
//! ```
//!
//! - A request: listener → route → split → backend → endpoint → forward → record.
//! - An observation: record → window → analysis → verdict → rollout state → compile → swap.
//! - A config edit: file → parse → check → compile → swap. Starting up is the first edit.
//!
//! One task ([`control`]) owns the checked configuration and the rollout states, and is the only
//! writer of the [`route::Table`]. Cores ([`h1`], [`measure`], [`analysis`], [`rollout`], [`route`],
//! [`import`], [`config`], [`compile`], [`ofrep`]) are pure: no clock, no input or output, no log. Shells (`proxy`,
//! [`control`], [`admin`], [`server`]) read, call a core, and act. `proxy` and [`control`] never
//! import each other: the table goes down through [`live`], the numbers come up through [`measure`].

// Words, free to all.
pub mod head;
pub mod name;
pub mod path;
pub mod proxy_protocol;
pub mod share;
pub mod values;

// Pure core: HTTP/1 on the wire.
pub mod h1;

// Pure cores: what happened, what it means, what to do next, where a request goes.
pub mod analysis;
pub mod audit;
pub mod jwt;
pub mod measure;
pub mod ofrep;
pub mod outcome;
pub mod people;
pub mod rollout;
pub mod route;

// Who a certificate is for, and how handshakes are made.
pub mod tls;

// Flags of other systems in the words of this one.
pub mod import;

// From a file to a table.
pub mod compile;
pub mod config;
pub mod live;

// A log of the past through the cores that judge the present.
pub mod rehearse;

// The past in four numbers.
pub mod report;

// Shells.
pub mod admin;
pub mod control;
pub mod notify;
pub mod outgoing;
mod proxy;
#[doc(hidden)]
pub use proxy::{Translated, translate};
pub mod server;

// On top: the program's commands.
pub mod cli;
pub mod demo;
