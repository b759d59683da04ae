//! Stories: the real binary over real sockets, with backends that do as a script says.
//!
//! Each story has a Serin, a directory and ports of its own, so all of them run side by side. They wait
//! for conditions; where one sleeps all the same, the reason stands beside it.
#![allow(unreachable_pub)] // a test binary shows nothing to anybody
#![allow(clippy::print_stderr)] // the log of a story that failed

mod common;

mod admin;
mod admin_hostile;
mod admin_tls;
mod allowlists;
mod answers;
mod audit;
mod blame;
mod blue_green;
mod bodies;
mod breaker;
mod certificates;
mod cli;
mod client_certificates;
mod crash;
mod damage;
mod drain;
mod edits;
mod flags_api;
mod flags_listener;
mod flags_proxy;
mod gates;
mod grpc;
mod h2;
mod h2_frames;
mod harness;
mod hosts;
mod limits;
mod notify;
mod ofrep;
mod overload;
mod paths;
mod peers;
mod people;
mod proxy_protocol;
mod rehearse;
mod releases;
mod reload;
mod requests;
mod rollback;
mod rolling;
mod routing;
mod staleness;
mod state;
mod sticky;
mod suites;
mod supervised;
mod tls;
mod tokens_jwt;
mod trust;
mod upgrade;
mod upstream_h2;
mod upstream_tls;
mod verbs;
mod verdict;
mod votes;
mod warnings;
mod websocket;
